"""What moves an agent's value: pictures of its derivative, and the value as a curve.

Pure functions on images. Axes: H, W height and width in pixels; C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppo_mpi.modes.drawing import INK, PAPER, as_picture

RED, BLUE = 0, 2
DARKENED = 0.2
"""Of the picture's light that is left under the colors."""
STRENGTH = 9
"""How much the colors are strengthened: the blur spreads a point over 25 pixels."""
LARGEST_SHARE = 0.999999999
"""Quantile of the derivative's size that is the brightest color."""
CURVE_SHARE = 8
"""The curve is so many times as wide as high."""


def blurred(picture: np.ndarray, reach: int = 2, sigma: float = 5.0) -> np.ndarray:
    """Return [H, W] blurred by a normal kernel of 2 * reach + 1 pixels a side, mirrored outside.

    Args:
        picture: [H, W] float, each side longer than ``reach``.
        reach: pixels on each side of the middle one.
        sigma: deviation in pixels.
    """
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    for _ in range(2):
        padded = np.pad(picture, ((reach, reach), (0, 0)), mode="reflect")
        rows = len(picture)
        parts = [weight * padded[i : i + rows] for i, weight in enumerate(weights)]
        picture = np.sum(parts, axis=0).T
    return picture


def saliency_picture(obs: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return what raises the value in blue and what lowers it in red, over the darkened picture.

    Args:
        obs: [H, W, C] uint8, as the agent saw it.
        gradient: [H, W, C] float32, the value's derivative by each of these numbers.

    Returns:
        [H, W, 3] uint8. Colors are relative to the largest derivative of this very picture.

    Source:
        the value saliency of "Goal misgeneralization in deep reinforcement learning"
        (arXiv:2105.14111): mean over channels, cut at that quantile and scaled, blurred by 5 x 5
        with sigma 5, strengthened by 9.
    """
    mean = gradient.astype(np.float64).mean(axis=2)
    largest = np.quantile(np.abs(mean), LARGEST_SHARE)
    scaled = np.clip(mean / largest, -1, 1) if largest > 0 else np.zeros_like(mean)
    light = blurred(scaled) * STRENGTH * 255
    gray = as_picture(obs).mean(axis=2) * DARKENED
    picture = np.repeat(gray[..., None], 3, axis=2)
    picture[..., BLUE] += np.clip(light, 0, None)
    picture[..., RED] += np.clip(-light, 0, None)
    return np.round(np.clip(picture, 0, 255)).astype(np.uint8)


def value_curve(width: int, values: Sequence[float], low: float, high: float) -> np.ndarray:
    """Return a strip with the episode's values up to now, the newest at the right.

    Args:
        width: pixels; as many steps are shown as have two pixels each.
        values: of the episode's steps so far, at least one.
        low: the value at the lower edge.
        high: the value at the upper edge.

    Returns:
        [h, width, 3] uint8, h even; a dimmer line is where the value is 0, if it is shown.
    """
    height = max(8, width // CURVE_SHARE // 2 * 2)
    strip = np.empty((height, width, 3), np.uint8)
    strip[:] = PAPER
    span = max(high - low, 1e-6)

    def row(value: float) -> int:
        return round((height - 1) * (1 - min(max((value - low) / span, 0.0), 1.0)))

    if low <= 0 <= high:
        strip[row(0.0)] = tuple(channel // 4 for channel in INK)
    shown = values[-(width // 2) :]
    start = width - 2 * len(shown)
    before = row(shown[0])
    for step, value in enumerate(shown):
        now = row(value)
        top, bottom = sorted((before, now))
        strip[top : bottom + 1, start + 2 * step] = INK
        strip[now, start + 2 * step : start + 2 * step + 2] = INK
        before = now
    return strip
