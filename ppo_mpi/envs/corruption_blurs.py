"""Corruptions that move or mix neighboring pixels; as in ``corruptions``.

Axes: H, W height and width of a picture [H, W, 3] float32 in [0, 1].
"""

from __future__ import annotations

import numpy as np


def gaussian_blur(picture: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Blur by a normal kernel of deviation ``sigma`` pixels."""
    import cv2

    return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def disk(radius: int, softness: float) -> np.ndarray:
    """Return the image [K, K] of a point out of focus: a disk with a softened edge, of sum 1.

    Args:
        radius: in pixels.
        softness: deviation in pixels of the blur of its edge.
    """
    import cv2

    reach = max(8, radius)
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float32)
    size = 3 if radius <= 8 else 5
    return cv2.GaussianBlur(inside / inside.sum(), (size, size), softness)


def defocus_blur(
    picture: np.ndarray, numbers: tuple[int, float], random: np.random.Generator
) -> np.ndarray:
    """Blur as a lens out of focus does, by a disk of (radius, softness of its edge)."""
    import cv2

    return cv2.filter2D(picture, -1, disk(*numbers), borderType=cv2.BORDER_REFLECT_101)


def glass_blur(
    picture: np.ndarray, numbers: tuple[float, int, int], random: np.random.Generator
) -> np.ndarray:
    """Look through frosted glass: blur, scatter pixels, blur.

    Args:
        picture: as everywhere here.
        numbers: deviation of the blurs, largest shift and number of passes of the scattering.
        random: draws a shift for each pixel and pass.

    Source:
        arXiv:1903.12261, where pixels are exchanged one after the other; here every pixel takes
        the color of a neighbor, all at once, which looks the same and takes a hundredth of the
        time.
    """
    sigma, reach, passes = numbers
    picture = gaussian_blur(picture, sigma, random)
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    for _ in range(passes):
        down, right = random.integers(-reach, reach + 1, (2, height, width))
        picture = picture[
            np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
        ]
    return gaussian_blur(np.ascontiguousarray(picture), sigma, random)


def streak(radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Return the path [K, K] of a moving point, of sum 1: a ray with normal weights.

    Args:
        radius: the ray is twice as long and begins at the middle.
        sigma: deviation of the weights in pixels.
        degrees: its direction, counterclockwise from the right.
    """
    kernel = np.zeros((4 * radius + 1, 4 * radius + 1), np.float32)
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle = np.deg2rad(degrees)
    rows = np.round(2 * radius - steps * np.sin(angle)).astype(int)
    columns = np.round(2 * radius + steps * np.cos(angle)).astype(int)
    np.add.at(kernel, (rows, columns), weights / weights.sum())
    return kernel


def motion_blur(
    picture: np.ndarray, numbers: tuple[int, float], random: np.random.Generator
) -> np.ndarray:
    """Blur by a movement of (radius, deviation) in a direction within 45 degrees of the right."""
    import cv2

    kernel = streak(*numbers, degrees=random.uniform(-45, 45))
    return cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def zoomed(picture: np.ndarray, factor: float) -> np.ndarray:
    """Return the middle of a picture, enlarged by ``factor`` >= 1 to its size."""
    import cv2

    height, width = picture.shape[:2]
    matrix = np.array(
        [[factor, 0, (1 - factor) * (width - 1) / 2], [0, factor, (1 - factor) * (height - 1) / 2]]
    )
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def zoom_blur(
    picture: np.ndarray, numbers: tuple[float, float], random: np.random.Generator
) -> np.ndarray:
    """Take the mean of the picture and enlarged ones, up to (factor, in steps of)."""
    factors = np.arange(1, *numbers)
    total = picture + sum(zoomed(picture, factor) for factor in factors)
    return total / (len(factors) + 1)


def elastic_transform(
    picture: np.ndarray, numbers: tuple[float, float, float], random: np.random.Generator
) -> np.ndarray:
    """Bend a picture: shift three points of it, and each of its pixels a little.

    Args:
        picture: as everywhere here.
        numbers: size of the pixels' shifts, deviation of the blur that smooths them, and largest
            shift of the three points; as shares of the shorter side.
        random: draws the shifts.
    """
    import cv2

    height, width = picture.shape[:2]
    side = min(height, width)
    size, smoothness, jitter = (number * side for number in numbers)
    third = side / 3
    around = np.array([[third, third], [third, -third], [-third, -third]])
    points = (np.array([width, height]) / 2 + around).astype(np.float32)
    moved = points + random.uniform(-jitter, jitter, points.shape).astype(np.float32)
    matrix = cv2.getAffineTransform(points, moved.astype(np.float32))
    picture = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    shifts = random.uniform(-1, 1, (2, height, width)).astype(np.float32)
    across, down = (
        cv2.GaussianBlur(own, (0, 0), smoothness, borderType=cv2.BORDER_REFLECT) * size
        for own in shifts
    )
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return cv2.remap(
        picture, columns + across, rows + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
