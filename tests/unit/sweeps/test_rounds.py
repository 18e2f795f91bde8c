"""Which trials are taken how far, by made-up curves; the same after an interruption."""

from __future__ import annotations

import numpy as np
import pytest
from made_sweeps import MadeUpCrew, search_of

from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.sweeps.rounds import carry_out, mean_at
from ppo_mpi.sweeps.running import ToldToStopError
from ppo_mpi.sweeps.search_file import Search
from ppo_mpi.sweeps.table import Row, ranked, row_of
from ppo_mpi.sweeps.trials import Books, plan_trials

HALVING = "stop: {at: [0.25, 0.5]}"
MEDIAN = "stop: {rule: median, at: [0.25], first: 2}"
RATES = {0.001: 5.0, 0.002: 1.0, 0.003: 8.0, 0.004: 2.0}


def curve(run: PlannedRun, share: float) -> float:
    """Return a return that rises, by the learning rate and the seed."""
    return RATES[run.config.learning.learning_rate] * share + run.seed


def carried_out(folder, search: Search, **options: object) -> tuple[list[Row], MadeUpCrew]:
    books = Books(folder)
    trials = plan_trials(search, folder)
    crew = MadeUpCrew(books, curve, **options)
    carry_out(search, trials, crew, books)
    return ranked(search, [row_of(search, trial, books) for trial in trials]), crew


def summary(rows: list[Row]) -> list[tuple]:
    return [(r.trial.number, r.status, r.stopped_at, r.stopped_value, r.timesteps) for r in rows]


def test_halving_spends_the_timesteps_on_the_best(tmp_path):
    rows, crew = carried_out(tmp_path, search_of(more=HALVING))
    # At a quarter all four are compared, at a half two; values are means over the seeds 0 and 1.
    assert summary(rows) == [
        (2, "finished", None, None, 2 * 4096),
        (0, "stopped", 2048, 5.0 / 2 + 0.5, 2 * 2048),
        (3, "stopped", 1024, 2.0 / 4 + 0.5, 2 * 1024),
        (1, "stopped", 1024, 1.0 / 4 + 0.5, 2 * 1024),
    ]
    assert rows[0].estimate.value == 8.5
    assert [until for _, until in crew.trained] == 8 * [1024] + 4 * [2048] + 2 * [4096]


def test_trials_end_below_the_median_of_those_before_them(tmp_path):
    rows, _ = carried_out(tmp_path, search_of(more=MEDIAN))
    assert {row.trial.number: row.status for row in rows} == {
        0: "finished", 1: "finished",  # the first two have nothing to be compared with
        2: "finished", 3: "stopped",  # 8 > median(5, 1); 2 < median(5, 1, 8)
    }  # fmt: skip


@pytest.mark.parametrize("more", [HALVING, MEDIAN, ""])
@pytest.mark.parametrize("after", [5])
def test_an_interrupted_search_decides_what_an_undisturbed_one_does(tmp_path, more, after):
    search = search_of(more=more)
    whole, crew = carried_out(tmp_path / "whole", search)
    with pytest.raises(ToldToStopError):
        carried_out(tmp_path / "cut", search, stops_after=min(after, len(crew.trained) - 1))
    rows, _ = carried_out(tmp_path / "cut", search)
    assert summary(rows) == summary(whole)
    again, crew = carried_out(tmp_path / "cut", search)
    assert (summary(again), crew.trained) == (summary(whole), [])


def test_a_failed_run_is_listed_and_the_others_go_on(tmp_path):
    def fails(run: PlannedRun) -> bool:
        return run.folder.name == "learning_rate0.003-seed1"

    for more in ("", HALVING):
        rows, _ = carried_out(tmp_path / more[:4], search_of(more=more), fails=fails)
        best, last = rows[0], rows[-1]
        assert (best.trial.number, best.status, best.rank) == (0, "finished", 1)
        assert (last.trial.number, last.status, last.rank) == (2, "failed", None)
        assert last.reason == "it was made to"


def test_a_mean_needs_a_value_of_every_seed(tmp_path):
    (trial, *_) = plan_trials(search_of(), tmp_path)
    crew = MadeUpCrew(Books(tmp_path), curve)
    crew.advance([(trial.runs[0], 1024)])
    assert mean_at(trial, 0.25, "mean_return") is None
    crew.advance([(trial.runs[1], 1024)])
    assert mean_at(trial, 0.25, "mean_return") == np.mean([1.25, 2.25])
