"""Statistics of many runs: over seeds, over games, of rates. Pure functions of numbers.

Axes: G games (or tasks), each with the scores of its runs.

Source:
    Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice",
    arXiv:2108.13264: interquartile mean, and bootstrap intervals stratified by game.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ppo_mpi.modes.intervals import CONFIDENCE, standard_error

RESAMPLES = 10_000
"""Resamples of a bootstrap."""
NORMAL = 1.959964
"""97.5 % of a normal distribution lie below it."""


@dataclass(frozen=True)
class Estimate:
    """A number, and the 95 % interval around it."""

    value: float
    low: float | None
    """None where the interval cannot be told, of a single run for example."""
    high: float | None


def mean_over_seeds(scores: np.ndarray) -> Estimate:
    """Return the mean of one game's runs with Student's 95 % interval.

    Args:
        scores: [runs] float64, at least one.
    """
    mean = float(scores.mean())
    _, half = standard_error(scores)
    return Estimate(mean, None, None) if half is None else Estimate(mean, mean - half, mean + half)


def wilson_interval(successes: int, trials: int) -> Estimate:
    """Return a rate with its 95 % interval, which stays within 0 and 1.

    Args:
        successes: 0 to ``trials``.
        trials: at least 1, independent of each other.

    Source:
        Wilson 1927, Journal of the American Statistical Association 22.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials are no rate")
    rate, z2 = successes / trials, NORMAL**2
    center = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    half = NORMAL * spread / (1 + z2 / trials)
    low = 0.0 if successes == 0 else center - half
    high = 1.0 if successes == trials else center + half
    return Estimate(rate, low, high)


def mean_score(scores: Sequence[np.ndarray]) -> float:
    """Return the mean over games of the mean over each game's runs.

    Args:
        scores: G arrays, [runs of that game] float64 each.
    """
    return float(np.mean([own.mean() for own in scores]))


def interquartile_mean(scores: Sequence[np.ndarray]) -> float:
    """Return the mean of the middle half of all runs of all games.

    Of n scores, sorted, the lowest and the highest ``n // 4`` are left out.

    Args:
        scores: G arrays, [runs of that game] float64 each.
    """
    pooled = np.sort(np.concatenate([*scores]))
    cut = len(pooled) // 4
    return float(pooled[cut : len(pooled) - cut].mean())


def stratified_bootstrap(
    statistic: Callable[[Sequence[np.ndarray]], float],
    scores: Sequence[np.ndarray],
    random: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Return a statistic with its 95 % percentile interval, runs resampled within each game.

    The games are not resampled: the interval tells what other seeds could have given on these
    games. With one run of each game there is nothing to resample, and no interval.

    Args:
        statistic: ``mean_score`` or ``interquartile_mean``.
        scores: G arrays, [runs of that game] float64 each.
        random: draws the resamples.
        resamples: how many.
    """
    value = statistic(scores)
    if all(len(own) < 2 for own in scores):
        return Estimate(value, None, None)
    drawn = [own[random.integers(len(own), size=(resamples, len(own)))] for own in scores]
    values = [statistic([own[k] for own in drawn]) for k in range(resamples)]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))
