"""What a search tries: where draws lie, that they are the same everywhere, and grids."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from ppo_mpi.errors import ConfigError
from ppo_mpi.sweeps.parameters import (
    Choices,
    Range,
    checked_range,
    corners,
    grid,
    plain,
    random_values,
)


def a_range(
    low: str, high: str, *, log: bool = False, whole: bool = False, step: str = ""
) -> Range:
    wanted = Range("x", Decimal(low), Decimal(high), log, whole, Decimal(step) if step else None)
    return checked_range(wanted)


def drawn(parameter: Range, count: int = 4000) -> np.ndarray:
    return np.array([float(parameter.draw(5, trial)[0]) for trial in range(count)])


def test_draws_are_even_on_their_scale_and_stay_within_the_bounds():
    for parameter, scaled in (
        (a_range("0.5", "2"), lambda x: (x - 0.5) / 1.5),
        (a_range("1e-5", "1e-1", log=True), lambda x: (np.log10(x) + 5) / 4),
    ):
        shares = scaled(drawn(parameter))
        assert -1e-9 <= shares.min() < 0.01
        assert 0.99 < shares.max() <= 1 + 1e-9
        counts = np.histogram(shares, bins=10, range=(-1e-9, 1 + 1e-9))[0]
        # 400 in each, with a deviation of 19: five deviations
        assert np.abs(counts - 400).max() < 95


def test_every_whole_number_of_a_range_is_as_likely():
    values = drawn(a_range("1", "4", whole=True))
    assert set(values) == {1, 2, 3, 4}
    assert np.abs(np.bincount(values.astype(int))[1:] - 1000).max() < 137  # five deviations
    logs = drawn(a_range("1", "8", log=True, whole=True))
    # P(n) is proportional to log((n + 1) / n), up to n = 8
    expected = 4000 * np.log2(1 + 1 / np.arange(1, 9)) / np.log2(9)
    assert np.abs(np.bincount(logs.astype(int))[1:] - expected).max() < 160


def test_a_trial_draws_the_same_whatever_else_is_drawn():
    one, two = a_range("0", "1"), Choices("y", (("a",), ("b",), ("c",)))
    both = random_values([one, two], seed=3, trial=7)
    assert random_values([two], seed=3, trial=7) == {"y": both["y"]}
    assert random_values([two, one], seed=3, trial=7) == both
    assert random_values([one], seed=4, trial=7)["x"] != both["x"]
    assert random_values([one], seed=3, trial=8)["x"] != both["x"]
    # Written down once, so that no machine and no version draws anything else.
    assert random_values([one], seed=0, trial=0) == {"x": ("0.03321",)}


def test_steps_are_differences_and_on_a_logarithmic_scale_factors():
    assert a_range("0.1", "0.5", step="0.2").listed() == (("0.1",), ("0.3",), ("0.5",))
    assert a_range("1e-5", "1e-2", log=True, step="10").listed() == (
        ("1e-5",), ("0.0001",), ("0.001",), ("0.01",),
    )  # fmt: skip
    assert a_range("64", "300", log=True, whole=True, step="2").listed()[-1] == ("256",)
    assert set(drawn(a_range("0", "1", step="0.5"), 100)) == {0.0, 0.5, 1.0}


def test_a_grid_changes_its_last_setting_fastest():
    one, two = Choices("a", (("1",), ("2",))), Choices("b", (("64", "64"), ("32",)))
    assert [list(values.values()) for values in grid([one, two])] == [
        [("1",), ("64", "64")], [("1",), ("32",)], [("2",), ("64", "64")], [("2",), ("32",)],
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="x has a range without a step, which a grid cannot"):
        list(grid([a_range("0", "1")]))


def test_the_corners_have_every_bound_and_every_choice():
    found = list(corners([a_range("0", "2", whole=True), Choices("y", (("a",), ("b",)))]))
    assert {values["x"] for values in found} == {("0",), ("2",)}
    assert {values["y"] for values in found} == {("a",), ("b",)}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"low": "2", "high": "1"}, "x: min=2 must be smaller than max=1"),
        ({"low": "0", "high": "1", "log": True}, "min=0 has no logarithm"),
        ({"low": "0.5", "high": "2", "whole": True}, "x is a whole number"),
        ({"low": "0", "high": "1", "step": "0"}, "step=0 must be greater than 0: it is a diff"),
        ({"low": "1", "high": "8", "log": True, "step": "1"}, "greater than 1: it is a factor"),
        ({"low": "0", "high": "1", "step": "1e-9"}, "makes more than 10,000 values"),
    ],
)
def test_a_range_that_cannot_be_is_refused(wanted, message):
    with pytest.raises(ConfigError, match=message):
        a_range(**wanted)


def test_numbers_are_short():
    texts = ["1E-5", "0.00025", "1e5", "64.0", "-10", "1e-12"]
    assert [plain(Decimal(text)) for text in texts] == [
        "1e-5", "0.00025", "100000", "64", "-10", "1e-12",
    ]  # fmt: skip
