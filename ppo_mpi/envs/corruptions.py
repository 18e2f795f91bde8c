"""Corruptions of pictures: noise, color and coding; the names and strengths of all of them.

Pure functions: a picture [H, W, 3] float32 in [0, 1], the strength's numbers and a generator ->
a picture, which may leave [0, 1] and is clipped by ``corrupted``. H, W height and width.

Source: Hendrycks & Dietterich 2019, "Benchmarking neural network robustness to common corruptions
and perturbations", arXiv:1903.12261; the numbers are those of its ImageNet-C. They are pixels of
the picture itself, as in the package imagecorruptions (also where ImageNet-C had 224 pixels a
side), shares of the side in elastic_transform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from ppo_mpi.envs import corruption_blurs as blurs
from ppo_mpi.envs import corruption_weather as weather

Corrupt = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


def gaussian_noise(picture: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Add normal noise of deviation ``sigma`` to every number."""
    return picture + random.normal(0.0, sigma, picture.shape)


def shot_noise(picture: np.ndarray, photons: float, random: np.random.Generator) -> np.ndarray:
    """Count photons, ``photons`` of them on average where a number is 1."""
    return random.poisson(picture * photons) / photons


def impulse_noise(picture: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Set a share of the numbers to 0 or 1, with even odds."""
    drawn = random.random(picture.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 1.0, picture))


def speckle_noise(picture: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Add normal noise in proportion to what is there."""
    return picture * (1 + random.normal(0.0, sigma, picture.shape))


def contrast(picture: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
    """Draw every channel towards its mean."""
    mean = picture.mean((0, 1))
    return (picture - mean) * factor + mean


def brightness(picture: np.ndarray, added: float, random: np.random.Generator) -> np.ndarray:
    """Raise the value of hue, saturation and value."""
    import cv2

    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + added, 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def saturate(
    picture: np.ndarray, numbers: tuple[float, float], random: np.random.Generator
) -> np.ndarray:
    """Multiply and raise the saturation."""
    import cv2

    factor, added = numbers
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + added, 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def jpeg_compression(picture: np.ndarray, quality: int, random: np.random.Generator) -> np.ndarray:
    """Code and decode as JPEG of a quality in percent."""
    import cv2

    pixels = np.round(picture[..., ::-1] * 255).astype(np.uint8)  # the coder takes blue first
    _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255


def pixelate(picture: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Shrink each side to a share of it by areas, and enlarge it again by nearest pixels."""
    import cv2

    height, width = picture.shape[:2]
    size = (max(1, int(width * share)), max(1, int(height * share)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


CORRUPTIONS: Mapping[str, tuple[Corrupt, tuple[Any, ...]]] = {
    "gaussian_noise": (gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (shot_noise, (60, 25, 12, 5, 3)),
    "impulse_noise": (impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "speckle_noise": (speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6)),
    "defocus_blur": (blurs.defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    "glass_blur": (
        blurs.glass_blur, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": (blurs.motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "zoom_blur": (
        blurs.zoom_blur, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "gaussian_blur": (blurs.gaussian_blur, (1, 2, 3, 4, 6)),
    "snow": (
        weather.snow,
        ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
         (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
         (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
    ),
    "frost": (weather.frost, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    "fog": (weather.fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    "brightness": (brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic_transform": (
        blurs.elastic_transform,
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
         (0.12, 0.01, 0.02)),
    ),
    "pixelate": (pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": (jpeg_compression, (25, 18, 15, 10, 7)),
    "saturate": (saturate, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))),
    "spatter": (
        weather.spatter,
        ((0.65, 0.3, 4, 0.69, 0.6, "water"), (0.65, 0.3, 3, 0.68, 0.6, "water"),
         (0.65, 0.3, 2, 0.68, 0.5, "water"), (0.65, 0.3, 1, 0.65, 1.5, "mud"),
         (0.67, 0.4, 1, 0.65, 1.5, "mud")),
    ),
}  # fmt: skip
"""Name -> the function, and its numbers for the severities 1 to 5."""

Severity = Literal[1, 2, 3, 4, 5]


def corrupted(picture: np.ndarray, name: str, severity: int, random: np.random.Generator) -> Any:
    """Return a corrupted picture.

    Args:
        picture: [H, W, C] uint8; three channels are red, green and blue. Those of any other number
            are gray pictures (stacked frames), each corrupted with the same draws.
        name: a key of ``CORRUPTIONS``.
        severity: 1 to 5.
        random: all that is drawn comes from it.

    Returns:
        [H, W, C] uint8.
    """
    corrupt, strengths = CORRUPTIONS[name]
    numbers = strengths[severity - 1]
    if picture.shape[2] != 3:
        seed = int(random.integers(2**31))
        channels = [
            corrupted(np.repeat(picture[..., c : c + 1], 3, 2), name, severity, _generator(seed))
            for c in range(picture.shape[2])
        ]
        return np.stack([np.round(own.mean(2)).astype(np.uint8) for own in channels], 2)
    result = corrupt(picture.astype(np.float32) / 255, numbers, random)
    return np.round(np.clip(result, 0, 1) * 255).astype(np.uint8)


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))
