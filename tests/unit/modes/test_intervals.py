"""Intervals against tables, against slow versions, and against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppo_mpi.modes.intervals import bootstrap_interval, student_quantile, welch_interval


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (10, 2.22814), (30, 2.04227),
     (199, 1.97196), (5000, 1.96044), (10**6, 1.95997)],
)  # fmt: skip
def test_the_quantile_is_that_of_students_table(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile, rel=1e-5)


def test_the_quantile_falls_between_whole_degrees_of_freedom():
    steps = [student_quantile(freedom) for freedom in np.linspace(1, 6, 51)]
    assert all(a > b for a, b in zip(steps, steps[1:], strict=False))


def test_welchs_interval_by_hand():
    # Means 4 and 1; variances 4 and 1; shares 4/3 and 1/4; freedom (19/12)^2 / (8/9 + 1/48).
    one, two = np.array([2.0, 4.0, 6.0]), np.array([0.0, 0.5, 1.5, 2.0])
    assert two.var(ddof=1) == pytest.approx(5 / 6)
    shares = 4 / 3, (5 / 6) / 4
    freedom = sum(shares) ** 2 / (shares[0] ** 2 / 2 + shares[1] ** 2 / 3)
    half = student_quantile(freedom) * math.sqrt(sum(shares))
    assert welch_interval(one, two) == pytest.approx((3 - half, 3 + half))
    assert welch_interval(one, np.array([1.0])) is None
    assert welch_interval(np.ones(3), np.zeros(5)) == (1.0, 1.0)


@pytest.mark.parametrize("kind", ["welch", "bootstrap"])
def test_the_intervals_hold_the_true_difference_as_often_as_they_say(kind):
    random = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        one = random.exponential(2.0, 60)
        two = random.normal(1.0, 3.0, 25)
        interval = (
            welch_interval(one, two) if kind == "welch" else bootstrap_interval(one, two, random)
        )
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert 0.90 <= held / 300 <= 0.985


def test_a_bootstrap_repeats_itself_and_needs_two_values():
    one, two = np.arange(9.0), np.arange(5.0)
    first = bootstrap_interval(one, two, np.random.default_rng(3))
    assert first == bootstrap_interval(one, two, np.random.default_rng(3))
    assert first is not None
    assert first[0] < 2.0 < first[1]
    assert bootstrap_interval(one, two[:1], np.random.default_rng(3)) is None
