"""Curves with fewer rows keep their ends, their totals and their columns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ppo_mpi.reports.charts import time_shares
from ppo_mpi.reports.run_files import read_columns
from ppo_mpi.storage.thinning import csv_text, thinned


def curves(num: int) -> dict[str, np.ndarray]:
    steps = np.arange(1.0, num + 1)
    return {
        "iteration": steps,
        "timesteps": 100 * steps,
        "wall_seconds": np.cumsum(1 + steps % 3),
        "timesteps_per_second": 100 / (1 + steps % 3),
        "mean_return": steps**2,
        "train/maze": -steps,
        "loss": steps % 7,
        "learning_rate": 1 / steps,
        "restarted_envs": np.ones(num),
        "collect_seconds": 0.25 * (1 + steps % 3),
        "update_seconds": 0.5 * (1 + steps % 3),
        "eval_mean_return": np.where(steps % 5 == 0, steps, math.nan),
    }


def test_short_curves_stay_as_they_are():
    whole = curves(10)
    same = thinned(whole, 10)
    assert all(np.array_equal(same[name], whole[name], equal_nan=True) for name in whole)


@pytest.mark.parametrize(("num", "most", "rows"), [(11, 10, 6), (12, 4, 4), (1000, 300, 250)])
def test_rows_are_equally_far_apart_and_the_last_is_the_last(num: int, most: int, rows: int):
    whole = curves(num)
    few = thinned(whole, most)
    assert {len(values) for values in few.values()} == {rows}
    assert set(np.diff(few["iteration"])) == {math.ceil(num / most)}
    for name in ("iteration", "timesteps", "wall_seconds", "mean_return", "train/maze"):
        assert few[name][-1] == whole[name][-1]


def test_a_row_says_what_log_every_would_have_said():
    few = thinned(curves(6), 2)
    assert few["iteration"].tolist() == [3, 6]
    assert few["mean_return"].tolist() == [9, 36]
    assert few["train/maze"].tolist() == [-3, -6]
    assert few["loss"].tolist() == [2, 5]
    assert few["learning_rate"].tolist() == [1 / 3, 1 / 6]
    assert few["restarted_envs"].tolist() == [3, 3]
    assert few["timesteps_per_second"].tolist() == [50, 50]
    assert math.isnan(few["eval_mean_return"][0])
    assert few["eval_mean_return"][1] == 5


def test_the_seconds_are_the_same_in_all():
    whole = curves(900)
    for (what, seconds), (same, own) in zip(
        time_shares(whole), time_shares(thinned(whole, 100)), strict=True
    ):
        assert what == same
        assert own == pytest.approx(seconds, rel=1e-9)


def test_what_is_written_is_read_again():
    few = thinned(curves(50), 7)
    again = read_columns(csv_text(few), Path("progress.csv"))
    assert list(again) == list(few)
    assert all(np.array_equal(again[name], few[name], equal_nan=True) for name in few)
