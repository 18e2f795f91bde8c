"""How sure a mean, or the difference of two, is. Numbers in, numbers out."""

from __future__ import annotations

import math

import numpy as np

CONFIDENCE = 0.95
"""Share of repetitions whose interval holds the true value."""
RESAMPLES = 2000
"""Resamples of a bootstrap: its bounds then vary by about a hundredth of the interval."""
_ANGLES = 20_001
_NORMAL_FROM = 10_000.0


def student_quantile(freedom: float) -> float:
    """Return t with P(\\|T\\| < t) = 0.95, for Student's T.

    With T = sqrt(freedom) tan(u) the density of u is proportional to cos(u) ** (freedom - 1): its
    integral is taken numerically, which is exact to five digits for any freedom >= 1.

    Args:
        freedom: degrees of freedom, >= 1, not necessarily whole (Welch).
    """
    assert freedom >= 1, f"{freedom} degrees of freedom"
    if freedom > _NORMAL_FROM:
        return 1.959964
    angles = np.linspace(0.0, math.pi / 2, _ANGLES)
    # Only a narrow part counts where there are many degrees of freedom: spend the angles there.
    angles *= min(1.0, 10.0 / math.sqrt(freedom))
    density = np.cos(angles) ** (freedom - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp(CONFIDENCE * area[-1], area, angles))
    return math.sqrt(freedom) * math.tan(angle)


def standard_error(values: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Return the mean's standard error and the half width of its 95 % interval (Student's t).

    Both are None for a single value: one episode says nothing of the spread.
    """
    n = len(values)
    if n < 2:
        return None, None
    error = float(values.std(ddof=1)) / math.sqrt(n)
    return error, student_quantile(n - 1) * error


def welch_interval(one: np.ndarray, two: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % interval of mean(one) - mean(two), whose spreads may differ.

    Args:
        one: [n] independent values, n >= 2.
        two: [m] likewise.

    Returns:
        (low, high); None where there are too few values.

    Source:
        Welch 1947, Biometrika 34; degrees of freedom by Satterthwaite 1946.
    """
    if min(len(one), len(two)) < 2:
        return None
    difference = float(one.mean() - two.mean())
    shares = [float(x.var(ddof=1)) / len(x) for x in (one, two)]
    total = sum(shares)
    if total == 0:
        return difference, difference
    freedom = total**2 / sum(
        share**2 / (len(x) - 1) for share, x in zip(shares, (one, two), strict=True)
    )
    half = student_quantile(max(1.0, freedom)) * math.sqrt(total)
    return difference - half, difference + half


def bootstrap_interval(
    one: np.ndarray, two: np.ndarray, random: np.random.Generator
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of mean(one) - mean(two), each resampled by itself.

    Args:
        one: [n] independent values, n >= 2.
        two: [m] likewise.
        random: draws the resamples.

    Source:
        Efron 1979, Annals of Statistics 7.
    """
    if min(len(one), len(two)) < 2:
        return None
    means = [
        np.array([x[random.integers(len(x), size=len(x))].mean() for _ in range(RESAMPLES)])
        for x in (one, two)
    ]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means[0] - means[1], [tail, 100 - tail])
    return float(low), float(high)
