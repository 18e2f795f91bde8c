"""Which trials are not worth going on with, by what they have shown so far. Pure functions.

Source:
    Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter
    optimization", arXiv:1502.07943 (successive halving); Golovin et al. 2017, "Google Vizier: a
    service for black-box optimization", KDD (the median rule).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ppo_mpi.config import TrainConfig

Rule = Literal["halving", "median"]


@dataclass(frozen=True)
class Stopping:
    """When trials are stopped before their end."""

    rule: Rule
    """halving: all come to a place, the best go on; median: one after the other, and one that is
    worse there than half of the earlier ones ends."""
    column: str
    """Of progress.csv, by which they are compared."""
    at: tuple[float, ...]
    """The places: shares of a run's timesteps in (0, 1), rising."""
    factor: int = 2
    """halving: one of so many goes on."""
    first: int = 4
    """median: trials that have to have been at a place before one is stopped there."""


def place(config: TrainConfig, share: float) -> int:
    """Return the timesteps of a place: the first row of progress.csv from that share on."""
    every = config.job.log_every
    rows = max(1, math.ceil(share * config.num_iterations / every))
    # The last iteration has a row, whatever log_every is.
    return min(rows * every, config.num_iterations) * config.learning.rollout_timesteps


def survivors(values: Mapping[int, float | None], factor: int, maximize: bool) -> list[int]:
    """Return the trials that go on, in rising order: the best of every ``factor``, one at least.

    Args:
        values: trial -> its value; None, where no episode has ended yet, counts as the worst.
        factor: 2 or more.
        maximize: whether higher is better. Of equal ones the lower number goes on.
    """
    sign = -1.0 if maximize else 1.0

    def rank(trial: int) -> tuple[float, int]:
        value = values[trial]
        return (math.inf if value is None else sign * value, trial)

    return sorted(sorted(values, key=rank)[: math.ceil(len(values) / factor)])


def is_below_median(
    value: float | None, earlier: Sequence[float | None], first: int, maximize: bool
) -> bool:
    """Return whether a trial is worse than the median of the earlier ones at the same place.

    Args:
        value: its own; None counts as the worst.
        earlier: those of earlier trials.
        first: of less than so many nothing follows.
        maximize: whether higher is better.
    """
    known = [one for one in earlier if one is not None]
    if len(known) < max(1, first):
        return False
    median = statistics.median(known)
    return value is None or (value < median if maximize else value > median)
