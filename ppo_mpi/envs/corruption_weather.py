"""Corruptions by the weather and what it leaves on a lens; as in ``corruptions``.

Axes: H, W height and width of a picture [H, W, 3] float32 in [0, 1].
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ppo_mpi.envs.corruption_blurs import streak

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
CLEARNESS = 0.6
"""How light water is without the paper's shading, so that it changes a picture about as much."""
ICE = (0.82, 0.93, 1.0)


def cloud(height: int, width: int, decay: float, random: np.random.Generator) -> np.ndarray:
    """Return a fractal landscape [H, W] float32 in [0, 1].

    Noise on grids of 2, 4, 8, ... cells a side is enlarged and added up; each octave is ``decay``
    times as weak as the one before. (The paper's clouds are diamond-square fractals with the same
    decay.)
    """
    import cv2

    total, weight = np.zeros((height, width), np.float32), 1.0
    for cells in 2 ** np.arange(1, 1 + max(1, int(np.ceil(np.log2(max(height, width)))))):
        octave = random.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
        total += weight * cv2.resize(octave, (width, height), interpolation=cv2.INTER_CUBIC)
        weight /= decay
    total -= total.min()
    return total / max(float(total.max()), 1e-6)


def fog(
    picture: np.ndarray, numbers: tuple[float, float], random: np.random.Generator
) -> np.ndarray:
    """Add clouds of (density, decay of their octaves); the brightest point stays as bright."""
    density, decay = numbers
    brightest = max(float(picture.max()), 1e-6)
    clouds = cloud(picture.shape[0], picture.shape[1], decay, random)[..., None]
    return (picture + density * clouds) * brightest / (brightest + density)


def ice(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Return a frozen pane [H, W, 3] float32 in [0, 1]: needles along the ridges of a landscape.

    Needles grow where two fractal landscapes are level with their middle, and thicker towards the
    edges of the pane.
    """
    ridges = [1 - np.abs(2 * cloud(height, width, 1.4, random) - 1) for _ in range(2)]
    needles = np.maximum(ridges[0] ** 8, ridges[1] ** 14)
    rows, columns = np.meshgrid(
        np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"
    )
    edge = np.clip(np.maximum(np.abs(rows), np.abs(columns)), 0, 1) ** 2
    haze = cloud(height, width, 1.7, random) * (0.35 + 0.35 * edge) + 0.3
    light = np.clip(haze + needles * (0.45 + 0.4 * edge), 0, 1)
    return light[..., None].astype(np.float32) * np.array(ICE, np.float32)


def frost(
    picture: np.ndarray, numbers: tuple[float, float], random: np.random.Generator
) -> np.ndarray:
    """Add a frozen pane with the weights (of the picture, of the pane).

    Source:
        arXiv:1903.12261 takes the panes from photographs; here they are drawn.
    """
    own, of_pane = numbers
    return own * picture + of_pane * ice(picture.shape[0], picture.shape[1], random)


def snow(
    picture: np.ndarray,
    numbers: tuple[float, float, float, float, int, float, float],
    random: np.random.Generator,
) -> np.ndarray:
    """Pale the picture and let snow fall over it.

    Args:
        picture: as everywhere here.
        numbers: mean and deviation of the flakes' noise, its enlargement, the threshold below
            which there is none, radius and deviation of their fall, weight of the picture.
        random: draws flakes and the direction of their fall.
    """
    import cv2

    mean, sigma, scale, threshold, radius, blur, weight = numbers
    height, width = picture.shape[:2]
    size = int(np.ceil(height / scale)), int(np.ceil(width / scale))
    flakes: Any = random.normal(mean, sigma, size).astype(np.float32)
    flakes = cv2.resize(flakes, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    flakes = flakes[:height, :width]
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    falling = streak(radius, blur, random.uniform(-135, -45))
    flakes = cv2.filter2D(flakes, -1, falling, borderType=cv2.BORDER_REPLICATE)[..., None]
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    pale = weight * picture + (1 - weight) * np.maximum(picture, 1.5 * gray + 0.5)
    return pale + flakes + flakes[::-1, ::-1]


def spatter(
    picture: np.ndarray,
    numbers: tuple[float, float, float, float, float, Literal["water", "mud"]],
    random: np.random.Generator,
) -> np.ndarray:
    """Put drops of water or mud on the lens.

    Args:
        picture: as everywhere here.
        numbers: mean and deviation of the noise, deviation of the blur that makes drops of it,
            the threshold below which there are none, their density, and of what they are.
        random: draws the noise.

    Source:
        arXiv:1903.12261, whose water is shaded along the drops' edges by several filters; here by
        an embossing of the drops alone.
    """
    import cv2

    mean, sigma, blur, threshold, density, stuff = numbers
    noise = random.normal(mean, sigma, picture.shape[:2]).astype(np.float32)
    drops: Any = cv2.GaussianBlur(noise, (0, 0), blur)
    if stuff == "mud":
        covered = (drops > threshold).astype(np.float32)
        opaque = np.clip(cv2.GaussianBlur(covered, (0, 0), density), 0, 1)
        opaque[opaque < 0.8] = 0
        return picture * (1 - opaque[..., None]) + opaque[..., None] * np.array(MUD, np.float32)
    drops[drops < threshold] = 0
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
    shaded = np.clip(drops + cv2.filter2D(drops, -1, emboss) / 4, 0, None)
    light = shaded / max(float(shaded.max()), 1e-6) * density * CLEARNESS
    return picture + light[..., None] * np.array(WATER, np.float32)
