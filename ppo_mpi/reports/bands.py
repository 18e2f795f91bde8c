"""Several runs' curves -> their mean and how sure it is. Axis: N points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppo_mpi.modes.intervals import student_quantile

Points = tuple[np.ndarray, np.ndarray]
"""A curve: [N] float64 places, rising, and [N] float64 values."""


@dataclass(frozen=True)
class MeanCurve:
    """The mean over runs with Student's 95 % interval."""

    x: np.ndarray
    """[N] float64, rising, up to where all runs have come."""
    mean: np.ndarray
    """[N] float64."""
    half: np.ndarray
    """[N] float64, half the interval's width; 0 where there is one run."""
    runs: int


def mean_over_runs(curves: Sequence[Points]) -> MeanCurve:
    """Return the mean over runs on the places of the first, up to where all have come.

    Args:
        curves: at least one, each of one point or more; those of other places are interpolated
            linearly.
    """
    low = max(x[0] for x, _ in curves)
    high = min(x[-1] for x, _ in curves)
    grid = curves[0][0]
    grid = grid[(grid >= low) & (grid <= high)]
    values = np.stack([np.interp(grid, x, y) for x, y in curves])
    mean, count = values.mean(axis=0), len(curves)
    if count == 1:
        return MeanCurve(grid, mean, np.zeros_like(mean), 1)
    half = student_quantile(count - 1) * values.std(axis=0, ddof=1) / math.sqrt(count)
    return MeanCurve(grid, mean, half, count)


def running_mean(values: np.ndarray, rows: int) -> np.ndarray:
    """Return means over so many neighbors, as many before as behind; fewer at the ends.

    Args:
        values: [N] float64, finite.
        rows: at least 1; an even number counts as the next odd one.
    """
    reach = rows // 2
    if not reach or not len(values):
        return values
    # At a place k from an end the window reaches k to both sides: it never leans to one.
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    own = np.minimum(reach, np.minimum(places, len(values) - 1 - places))
    means: np.ndarray = (sums[places + own + 1] - sums[places - own]) / (2 * own + 1)
    return means
