"""Pictures that take the place of Procgen's own: some of its others, cut out, or drawn here."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE = 128
"""Width and height of a drawn picture, those of most of Procgen's."""


@dataclass(frozen=True)
class Picture:
    """One of Procgen's own pictures."""

    path: str
    """Below its folder of assets."""
    is_cut: bool = False
    """Whether the empty margin is cut off, so that the object fills its cell."""

    def write(self, assets: Path, target: Path) -> None:
        """Make ``target`` this picture.

        Args:
            assets: Procgen's folder.
            target: a PNG file that is not there yet.
        """
        if self.is_cut:
            target.write_bytes(without_margin(assets / self.path))
        else:
            target.symlink_to(assets / self.path)


@dataclass(frozen=True)
class Diagonal:
    """A line from the upper left to the lower right, on nothing."""

    color: tuple[int, int, int]
    """Red, green, blue, in 0 to 255."""
    width: int
    """Pixels across, of ``SIDE``."""

    def write(self, assets: Path, target: Path) -> None:
        """Make ``target`` this picture; see ``Picture.write``."""
        target.write_bytes(png(diagonal(self.color, self.width)))


Sprite = Picture | Diagonal


def diagonal(color: tuple[int, int, int], width: int) -> np.ndarray:
    """Return [SIDE, SIDE, 4] uint8, red, green, blue and opacity."""
    places = np.arange(SIDE)
    # A point's distance from the diagonal is its horizontal one times the root of one half.
    is_line = np.abs(places[:, None] - places[None]) * np.sqrt(0.5) <= width / 2
    image = np.zeros((SIDE, SIDE, 4), np.uint8)
    image[is_line] = (*color, 255)
    return image


def png(image: np.ndarray) -> bytes:
    """Return a picture as a PNG file.

    Args:
        image: [H, W, 4] uint8, red, green, blue and opacity.

    Source:
        Portable Network Graphics Specification (Second Edition), W3C 2003: the chunks IHDR, IDAT
        and IEND; color type 6, each row behind a byte that names no filter.
    """
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 6, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )


def without_margin(path: Path) -> bytes:
    """Return a picture's PNG file, cut to the box of what is not transparent."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, f"{path} is one of procgen's pictures"
    if image.shape[2] == 4:
        ys, xs = np.nonzero(image[..., 3])
        image = image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    else:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGBA)
    return png(image)
