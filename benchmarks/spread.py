"""Median, smallest and largest of what was measured several times."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """What repeated measurements say; all in the unit of the measurements."""

    median: float
    smallest: float
    largest: float

    @property
    def relative(self) -> float:
        """The distance from the smallest to the largest, in medians."""
        return (self.largest - self.smallest) / self.median


def spread_of(values: Iterable[float]) -> Spread:
    """Return the spread of at least one value."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])
