"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*#@"
MOST_POINTS = 512


class History:
    """A curve from its beginning, in bounded memory: the longer, the coarser."""

    def __init__(self) -> None:
        self.points: list[float] = []
        self._every = 1
        self._sum, self._count = 0.0, 0

    def add(self, value: float | None) -> None:
        """Append a value; None and NaN are left out."""
        if value is None or not math.isfinite(value):
            return
        self._sum += value
        self._count += 1
        if self._count == self._every:
            self.points.append(self._sum / self._count)
            self._sum, self._count = 0.0, 0
        if len(self.points) == MOST_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [(a + b) / 2 for a, b in pairs]
            self._every *= 2


def sparkline(points: Sequence[float], columns: int, blocks: str = BLOCKS) -> str:
    """Return a curve as one letter for each of at most ``columns`` groups of points.

    Args:
        points: from the oldest on, finite.
        columns: room.
        blocks: the letters, from low to high.
    """
    num = min(columns, len(points))
    if num <= 0:
        return ""
    ends = [len(points) * i // num for i in range(num + 1)]
    means = [math.fsum(points[a:b]) / (b - a) for a, b in zip(ends, ends[1:], strict=False)]
    low, high = min(means), max(means)
    if high == low:
        return blocks[0] * num
    scale = (len(blocks) - 1) / (high - low)
    return "".join(blocks[round((mean - low) * scale)] for mean in means)
