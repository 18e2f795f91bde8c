"""Which trials are stopped: by hand, and against the rule written out."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.sweeps.stopping import is_below_median, place, survivors


def test_the_better_half_goes_on_and_of_equal_ones_the_first():
    values = {0: 1.0, 1: 3.0, 2: 2.0, 3: 3.0, 4: None}
    assert survivors(values, factor=2, maximize=True) == [1, 2, 3]
    assert survivors(values, factor=2, maximize=False) == [0, 1, 2]
    assert survivors(values, factor=3, maximize=True) == [1, 3]
    assert survivors({7: 1.0, 8: 1.0}, factor=2, maximize=True) == [7]
    assert survivors({7: None}, factor=4, maximize=True) == [7]


def test_halving_keeps_the_best_of_random_values():
    random = np.random.default_rng(0)
    for count in range(1, 30):
        values = {k: float(v) for k, v in enumerate(random.normal(size=count))}
        for factor in (2, 3, 4):
            kept = survivors(values, factor, maximize=True)
            assert len(kept) == -(-count // factor)
            left = [v for k, v in values.items() if k not in kept]
            assert min(values[k] for k in kept) >= max(left, default=-np.inf)


def test_a_trial_ends_below_the_median_of_the_earlier_ones():
    earlier = [1.0, 2.0, 3.0, 4.0]
    assert statistics.median(earlier) == 2.5
    assert is_below_median(2.4, earlier, first=4, maximize=True)
    assert not is_below_median(2.5, earlier, first=4, maximize=True)
    assert is_below_median(2.6, earlier, first=4, maximize=False)
    assert is_below_median(None, earlier, first=4, maximize=True)
    assert not is_below_median(0.0, earlier, first=5, maximize=True)
    assert not is_below_median(0.0, [*earlier, None], first=5, maximize=True)
    assert not is_below_median(0.0, [], first=1, maximize=True)


@pytest.mark.parametrize(("share", "iterations"), [(0.01, 1), (0.25, 3), (0.5, 5), (0.99, 10)])
def test_a_place_is_a_whole_number_of_iterations(share, iterations):
    config = parse_command(["train", "probe:match", "--total-timesteps", str(10 * 512 + 3)]).config
    assert place(config, share) == 512 * iterations


@pytest.mark.parametrize(("share", "iterations"), [(0.01, 4), (0.4, 4), (0.41, 8), (0.9, 10)])
def test_a_place_is_where_a_row_of_the_curve_is(share, iterations):
    words = ["train", "probe:match", "--total-timesteps", str(10 * 512), "--log-every", "4"]
    assert place(parse_command(words).config, share) == 512 * iterations
