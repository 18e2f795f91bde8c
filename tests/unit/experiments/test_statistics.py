"""The statistics of many runs against slow versions, written from their definitions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from ppo_mpi.experiments.statistics import (
    Estimate,
    interquartile_mean,
    mean_over_seeds,
    mean_score,
    stratified_bootstrap,
    wilson_interval,
)

SCORES = [np.array([0.1, 0.4, 0.2]), np.array([0.9, 0.7, 1.1]), np.array([-0.3, 0.0, 0.6])]


def slow_interquartile_mean(scores: list[np.ndarray]) -> float:
    """The mean of what is left when a quarter of all runs is taken away on either side."""
    left = [float(x) for own in scores for x in own]
    for _ in range(math.floor(Fraction(len(left), 4))):
        left.remove(min(left))
    for _ in range(math.floor(Fraction(sum(map(len, scores)), 4))):
        left.remove(max(left))
    return sum(left) / len(left)


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("games", [1, 2, 4, 16])
def test_the_interquartile_mean_is_that_of_its_definition(games, runs):
    random = np.random.default_rng(games * 10 + runs)
    scores = [random.normal(size=runs).round(1) for _ in range(games)]  # with ties
    assert interquartile_mean(scores) == pytest.approx(slow_interquartile_mean(scores))


def test_the_interquartile_mean_by_hand_and_without_outliers():
    # Sorted: -.3 0 .1 .2 .4 .6 .7 .9 1.1; two are left out on either side.
    assert interquartile_mean(SCORES) == pytest.approx((0.1 + 0.2 + 0.4 + 0.6 + 0.7) / 5)
    wild = [*SCORES[:2], np.array([-300.0, 0.0, 600.0])]
    assert interquartile_mean(wild) == pytest.approx((0.1 + 0.2 + 0.4 + 0.7 + 0.9) / 5)
    assert abs(mean_score(wild)) > 30


def test_the_mean_counts_each_game_once():
    assert mean_score([np.array([1.0, 3.0]), np.array([5.0])]) == 3.5


def test_the_bootstrap_covers_what_all_resamples_give():
    """With 2 games of 2 runs there are 16 resamples, equally likely: their quantiles are exact."""
    scores = [np.array([0.0, 1.0]), np.array([2.0, 6.0])]
    everything = [
        mean_score([np.array([scores[0][i], scores[0][j]]), np.array([scores[1][k], scores[1][m]])])
        for i, j, k, m in itertools.product(range(2), repeat=4)
    ]
    estimate = stratified_bootstrap(mean_score, scores, np.random.default_rng(0), 4000)
    # 1 of 16 resamples is the lowest and 1 the highest: more than 2.5 % each.
    assert estimate == Estimate(2.25, min(everything), max(everything))


def test_the_bootstrap_resamples_within_games_only():
    # No game's runs differ: nothing can vary, however far the games are apart.
    scores = [np.full(3, 0.0), np.full(3, 100.0)]
    estimate = stratified_bootstrap(mean_score, scores, np.random.default_rng(0), 50)
    assert estimate == Estimate(50.0, 50.0, 50.0)


def test_the_bootstrap_agrees_with_a_slow_one():
    def slow(resamples: int) -> tuple[float, float]:
        random = np.random.default_rng(7)
        values = []
        for _ in range(resamples):
            sample = [[own[int(random.integers(len(own)))] for _ in own] for own in SCORES]
            values.append(slow_interquartile_mean([np.array(own) for own in sample]))
        values.sort()
        return values[int(0.025 * resamples)], values[int(0.975 * resamples)]

    estimate = stratified_bootstrap(interquartile_mean, SCORES, np.random.default_rng(1), 4000)
    assert (estimate.low, estimate.high) == pytest.approx(slow(4000), abs=0.03)
    again = stratified_bootstrap(interquartile_mean, SCORES, np.random.default_rng(1), 4000)
    assert again == estimate


def test_single_runs_have_no_interval():
    one = [np.array([0.2]), np.array([0.6])]
    expected = Estimate(pytest.approx(0.4), None, None)
    assert stratified_bootstrap(mean_score, one, np.random.default_rng(0)) == expected
    assert mean_over_seeds(np.array([3.0])) == Estimate(3.0, None, None)


def test_the_interval_over_three_seeds_is_students():
    estimate = mean_over_seeds(np.array([1.0, 2.0, 3.0]))
    half = 4.30265 / math.sqrt(3)
    assert (estimate.low, estimate.high) == pytest.approx((2 - half, 2 + half), rel=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (5, 10), (200, 1000), (7, 8)])
def test_wilsons_bounds_are_the_rates_that_the_data_just_do_not_refute(successes, trials):
    """The interval's definition: all p with |rate - p| <= z sqrt(p (1 - p) / n)."""
    estimate = wilson_interval(successes, trials)
    for bound in (estimate.low, estimate.high):
        assert bound is not None
        reach = 1.959964 * math.sqrt(bound * (1 - bound) / trials)
        assert abs(successes / trials - bound) == pytest.approx(reach, abs=1e-9)


def test_wilsons_interval_stays_within_0_and_1():
    none, every = wilson_interval(0, 20), wilson_interval(20, 20)
    assert (none.value, none.low) == (0.0, 0.0)
    assert (every.value, every.high) == (1.0, 1.0)
    assert none.high == pytest.approx(0.1611, abs=1e-4)
    assert every.low == pytest.approx(1 - 0.1611, abs=1e-4)
    with pytest.raises(ValueError, match="3 successes in 2 trials are no rate"):
        wilson_interval(3, 2)
