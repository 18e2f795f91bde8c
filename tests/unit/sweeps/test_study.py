"""Optuna's trials: what is suggested, that it is the same after an interruption, and pruning."""

from __future__ import annotations

from decimal import Decimal

import pytest
from made_sweeps import MadeUpCrew, search_of

from ppo_mpi.errors import ConfigError
from ppo_mpi.sweeps.parameters import Choices, Range
from ppo_mpi.sweeps.running import ToldToStopError
from ppo_mpi.sweeps.study import Study, distribution, importance, words_of
from ppo_mpi.sweeps.table import ranked, row_of
from ppo_mpi.sweeps.trials import Books

optuna = pytest.importorskip("optuna")

TEXT = """\
env: probe:match
total_timesteps: 4096
method: optuna
trials: 12
parameters:
  learning_rate: {min: 1e-5, max: 1e-1, scale: log}
  num_epochs: {min: 1, max: 8}
  activation: [tanh, relu]
seeds: 2
metric: mean_return
"""


def curve(run, share):
    """Return a return that is best at a learning rate of 0.01."""
    learning = run.config.learning
    return share * (10 - abs(learning.learning_rate - 0.01) * 100 - 0.1 * learning.num_epochs)


def carried_out(folder, text=TEXT, **options):
    search, books = search_of(text), Books(folder)
    study = Study(search, folder)
    study.check()
    study.carry_out(MadeUpCrew(books, curve, **options), books)
    return search, study, ranked(search, [row_of(search, one, books) for one in study.known()])


def values(rows):
    return [dict(row.trial.values) for row in sorted(rows, key=lambda row: row.trial.number)]


def test_an_interrupted_study_is_suggested_what_an_undisturbed_one_is(tmp_path):
    search, study, rows = carried_out(tmp_path / "whole")
    assert [row.status for row in rows] == 12 * ["finished"]
    assert len({str(one) for one in values(rows)}) > 7
    # In the middle of the last of eleven, where the sampler learns from the first ten.
    with pytest.raises(ToldToStopError):
        carried_out(tmp_path / "cut", TEXT.replace("12", "11"), stops_after=21)
    _, _, again = carried_out(tmp_path / "cut")
    assert values(again) == values(rows)
    shares = importance(search, [(row.trial, row.estimate.value) for row in rows])
    if shares:  # scikit-learn is there
        assert set(shares) == {"learning_rate", "num_epochs", "activation"}
        assert sum(shares.values()) == pytest.approx(1)
        assert max(shares, key=shares.get) == "learning_rate"
    assert study.path.read_text().count("\n") > 12  # a line for each change


def test_failed_trials_and_pruned_ones_are_told(tmp_path):
    text = TEXT.replace("12", "10") + "stop: {rule: median, at: [0.5], first: 2}"
    fails = {"t0001"}
    _, study, rows = carried_out(
        tmp_path, text, fails=lambda run: run.folder.name[:5] in fails, parallel=4
    )
    told = {one.number: one.state.name for one in study._open().get_trials()}
    assert told[1] == "FAIL"
    found = {row.trial.number: row.status for row in rows}
    assert found[1] == "failed"
    names = {"finished": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    assert told == {number: names[status] for number, status in found.items()}
    assert "stopped" in found.values()


def test_a_study_of_another_search_is_noticed(tmp_path):
    carried_out(tmp_path, TEXT.replace("12", "1"))
    assert not Study(search_of(TEXT), tmp_path).is_changed()
    other = Study(search_of(TEXT.replace("1e-5", "1e-4")), tmp_path)
    assert other.is_changed()
    other.delete()
    assert not other.is_changed()


def test_a_corner_that_cannot_be_is_refused_before_anything_is_suggested(tmp_path):
    wrong = TEXT.replace("{min: 1, max: 8}", "{min: 0, max: 8}")
    with pytest.raises(ConfigError, match=r"trial 0 .*: num_epochs=0 is too small"):
        Study(search_of(wrong), tmp_path).check()


def test_values_are_typed_as_they_are_drawn():
    whole = Range("n", Decimal(1), Decimal(9), False, True, Decimal(2))
    assert distribution(optuna, whole) == optuna.distributions.IntDistribution(1, 9, step=2)
    assert words_of(whole, 3) == ("3",)
    real = Range("x", Decimal("1e-5"), Decimal("0.1"), True, False)
    assert distribution(optuna, real) == optuna.distributions.FloatDistribution(1e-5, 0.1, log=True)
    assert words_of(real, 0.00123456) == ("0.001235",)
    factors = Range("f", Decimal(1), Decimal(100), True, False, Decimal(10))
    assert words_of(factors, distribution(optuna, factors).choices[1]) == ("10",)
    lists = Choices("sizes", (("64", "64"), ("32",)))
    assert words_of(lists, distribution(optuna, lists).choices[0]) == ("64", "64")
