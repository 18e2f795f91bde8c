"""Frames for people: resizing, captions, grids, and half-block characters for the terminal.

Pure functions on images. Axes: H, W height and width in pixels, 3 red, green, blue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppo_mpi.modes.pixel_font import ADVANCE, GLYPH_HEIGHT, text_mask

INK = (240, 240, 240)
PAPER = (24, 24, 24)

_MARGIN = 3
"""Free rows above and below each caption line, at scale 1."""


def resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the frame in another size: by area where it shrinks, nearest pixel where it grows.

    Args:
        frame: [H, W, 3] uint8.
        height: rows of the result, >= 1.
        width: columns of the result, >= 1.

    Returns:
        [height, width, 3] uint8; the frame itself, to the bit, if the size does not change.
    """
    for axis, size in ((0, height), (1, width)):
        old = frame.shape[axis]
        edges = np.arange(size + 1) * old // size
        if size >= old:
            frame = frame.take(edges[:-1], axis=axis)
        else:
            sums = np.add.reduceat(frame, edges[:-1], axis=axis, dtype=np.uint32)
            counts = np.diff(edges).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            frame = ((sums + counts // 2) // counts).astype(np.uint8)
    return frame


def fit(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Shrink the frame so that it is no larger than ``height`` x ``width``, shape kept."""
    old_height, old_width = frame.shape[:2]
    scale = min(1.0, height / old_height, width / old_width)
    return resize(frame, max(1, int(old_height * scale)), max(1, int(old_width * scale)))


def as_picture(obs: np.ndarray) -> np.ndarray:
    """Return an image observation as a color frame.

    Args:
        obs: [H, W, C] uint8; three channels are red, green and blue, of any other number (stacked
            gray frames) the last one, which is the newest, is shown in gray.

    Returns:
        [H, W, 3] uint8.
    """
    return obs if obs.shape[2] == 3 else obs[:, :, -1:].repeat(3, axis=2)


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return two frames side by side; the lower one is filled up with ``PAPER``."""
    height = max(left.shape[0], right.shape[0])
    return np.concatenate([_padded(f, height, f.shape[1]) for f in (left, right)], axis=1)


def grid(frames: Sequence[np.ndarray], rows: int, columns: int) -> np.ndarray:
    """Return the frames as one picture, row by row.

    Args:
        frames: at most ``rows * columns`` of them, each [H, W, 3] uint8 of its own size.
        rows: rows of the grid.
        columns: columns of the grid.

    Returns:
        [rows * H, columns * W, 3] uint8 for the largest H and W; the rest is ``PAPER``.

    Raises:
        ValueError: there are more frames than places.
    """
    if not 0 < len(frames) <= rows * columns:
        raise ValueError(f"{len(frames)} frames do not go into a {rows}x{columns} grid")
    height = max(frame.shape[0] for frame in frames)
    width = max(frame.shape[1] for frame in frames)
    picture = np.empty((rows * height, columns * width, 3), np.uint8)
    picture[:] = PAPER
    for place, frame in enumerate(frames):
        top, left = place // columns * height, place % columns * width
        picture[top : top + height, left : left + width] = _padded(frame, height, width)
    return picture


def caption(width: int, fields: Sequence[str]) -> np.ndarray:
    """Return a strip of text to stand below a frame.

    The strip's height depends on its width and the number of fields only, so that all frames of a
    video agree. All fields share one line where 20 characters of each have room, in letters as
    large as then fit; else each has a line of its own. What is too long is cut off at the edge.

    Args:
        width: pixels.
        fields: short texts such as ``return 10.0`` and ``level 42``.

    Returns:
        [h, width, 3] uint8, h even.
    """
    one_line = width >= 20 * ADVANCE * len(fields)
    lines = ["  ".join(fields)] if one_line else list(fields)
    longest = 20 * len(fields) if one_line else 20
    scale = max(1, width // (longest * ADVANCE))
    line_height = (GLYPH_HEIGHT + 2 * _MARGIN + 1) * scale
    strip = np.empty((line_height * len(lines), width, 3), np.uint8)
    strip[:] = PAPER
    for number, line in enumerate(lines):
        mask = text_mask(line, scale)[:, : max(0, width - _MARGIN * scale)]
        top, left = number * line_height + _MARGIN * scale, _MARGIN * scale
        strip[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = INK
    return strip


def below(frame: np.ndarray, strip: np.ndarray) -> np.ndarray:
    """Return the frame with a strip of the same width below it."""
    return np.concatenate([frame, strip])


def half_blocks(frame: np.ndarray) -> list[str]:
    """Draw a frame with terminal characters, one column and half a line for each pixel.

    The upper half block is colored in the upper pixel's color and its background in the lower
    pixel's. A color that is still set is not set again.

    Args:
        frame: [H, W, 3] uint8; below an odd last row stands black.

    Returns:
        (H + 1) // 2 lines without newlines; each sets its own colors and resets them at the end.
    """
    if frame.shape[0] % 2:
        frame = np.concatenate([frame, np.zeros_like(frame[:1])])
    lines = []
    for upper_row, lower_row in zip(frame[0::2].tolist(), frame[1::2].tolist(), strict=True):
        upper_set = lower_set = None
        parts = []
        for upper, lower in zip(upper_row, lower_row, strict=True):
            if upper != upper_set:
                parts.append("\x1b[38;2;{};{};{}m".format(*upper))
                upper_set = upper
            if lower != lower_set:
                parts.append("\x1b[48;2;{};{};{}m".format(*lower))
                lower_set = lower
            parts.append("\u2580")
        lines.append("".join(parts) + "\x1b[0m")
    return lines


def _padded(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fill a frame up with ``PAPER`` at the bottom and at the right."""
    if frame.shape[:2] == (height, width):
        return frame
    padded = np.empty((height, width, 3), np.uint8)
    padded[:] = PAPER
    padded[: frame.shape[0], : frame.shape[1]] = frame
    return padded
