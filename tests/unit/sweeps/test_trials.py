"""Trials: names and keys that follow from what differs, and runs that have changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_sweeps import MadeUpCrew, search_of, write_curve

from ppo_mpi.cli import parse_command
from ppo_mpi.config import with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.sweeps.parameters import Choices
from ppo_mpi.sweeps.trials import (
    LONGEST_NAME,
    Books,
    key_of,
    plan_trials,
    refuse_changed,
    trial_name,
)


def test_a_name_says_what_differs_and_different_values_never_share_one():
    assert trial_name({"learning_rate": ("1e-3",), "hidden_sizes": ("64", "32")}) == (
        "learning_rate1e-3-hidden_sizes64,32"
    )
    slashes = trial_name({"env": ("a:b/c",)}), trial_name({"env": ("a_b_c",)})
    assert slashes[0].startswith("enva_b_c-")
    assert slashes[1] == "enva_b_c"
    names = {trial_name({"env_kwargs": ("x" * 200 + letter,)}) for letter in "ab"}
    assert len(names) == 2
    assert max(map(len, names)) == LONGEST_NAME + 9


def test_every_run_has_its_settings_its_seed_and_a_folder(tmp_path):
    trials = plan_trials(search_of(), tmp_path)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    run = trials[2].runs[1]
    assert run.folder == tmp_path / "learning_rate0.003-seed1"
    assert run.seed == run.config.job.seed == 1
    assert run.config.learning.learning_rate == 0.003
    assert run.timesteps == 4096
    # Nobody reads a page of each run, unless the file asks for it.
    assert not run.config.reporting.report
    for line in ("report: true", "report_every: 5"):
        asked = plan_trials(search_of(more=f"settings: {{{line}}}"), tmp_path)
        assert asked[0].config.reporting.report
    # A run's words mean its settings, also where they were not read again for each seed.
    assert parse_command(run.words).config == run.config


def test_a_grid_that_grows_keeps_its_runs_and_draws_have_their_numbers(tmp_path):
    few = plan_trials(search_of(), tmp_path)
    wider = replace(
        search_of(),
        parameters=(Choices("learning_rate", tuple((f"0.00{k}",) for k in (5, 4, 3, 2, 1))),),
    )
    names = {run.folder.name for trial in plan_trials(wider, tmp_path) for run in trial.runs}
    assert {run.folder.name for trial in few for run in trial.runs} < names
    drawn = replace(search_of(), method="random", trials=3)
    three = plan_trials(drawn, tmp_path)
    assert [trial.runs[0].folder.name[:6] for trial in three] == ["t0000-", "t0001-", "t0002-"]
    assert plan_trials(replace(drawn, trials=2), tmp_path) == three[:2]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("settings: {num_envs: 7}", r"trial 0 \(learning_rate=0.001\): rollout_timesteps=512 is n"),
        ("settings: {discount: two}", "trial 0 .*: discount='two' .* is not a number"),
        ("ranks: 9", "trial 0 .*: num_envs=8 is fewer than world_size=9"),
        ("stop: {column: eval_mean_return}", "trial 0 .*: the column eval_mean_return stays empty"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_trial(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        plan_trials(search_of(more=more), tmp_path)


def test_a_key_knows_what_shapes_the_result_and_nothing_else(tmp_path):
    config = parse_command(["train", "CartPole-v1"]).config
    same = {
        "checkpoint_every": 3,
        "display": "off",
        "run": "x",
        "checkpoint_dir": "y",
        "threads": 2,
    }
    assert key_of(with_values(config, same)) == key_of(config)
    others = ({"seed": 1}, {"total_timesteps": 99_999}, {"learning_rate": 0.5}, {"num_envs": 16},
              {"log_every": 2}, {"eval_every": 2}, {"eval_episodes": 2})  # fmt: skip
    keys = {key_of(with_values(config, other)) for other in others}
    assert len(keys | {key_of(config)}) == 8


def test_a_key_knows_the_content_of_files_that_are_named(tmp_path):
    config = parse_command(["train", "CartPole-v1"]).config
    levels = tmp_path / "levels.txt"
    levels.write_text("1")
    named = with_values(config, {"env_kwargs": (f"path={levels}",)})
    before = key_of(named)
    levels.write_text("2")
    assert key_of(named) != before
    levels.write_text("1")
    assert key_of(named) == before


def test_a_run_that_was_begun_with_other_settings_is_noticed(tmp_path):
    books = Books(tmp_path)
    (old, *_) = plan_trials(search_of(), tmp_path)
    for run in old.runs:
        books.write(run)
        write_curve(run, 1024, lambda run, share: share)
    refuse_changed(old.runs, books)
    (new, *_) = plan_trials(search_of(more="settings: {num_epochs: 2}"), tmp_path)
    with pytest.raises(ConfigError, match=r"seed0 .and 1 other. was begun .*num_epochs=2 \(it "):
        refuse_changed(new.runs, books)
    (longer, *_) = plan_trials(
        replace(search_of(), fixed={"env": ("probe:match",), "total_timesteps": ("8192",)}),
        tmp_path,
    )
    with pytest.raises(ConfigError, match=r"total_timesteps=8192 \(it has 4096\)"):
        refuse_changed(longer.runs, books)


def test_the_books_tell_failed_stopped_and_finished_runs_apart(tmp_path):
    books = Books(tmp_path)
    runs = [trial.runs[0] for trial in plan_trials(search_of(), tmp_path)]
    MadeUpCrew(books, lambda run, share: share).advance([(runs[0], 4096), (runs[1], 1024)])
    books.write(runs[2], failure="lost")
    assert [books.status(run) for run in runs] == ["finished", "begun", "failed", "new"]
    books.write(runs[1], stopped_at=1024)
    assert books.status(runs[1]) == "stopped"
    books.write(runs[1])  # it goes on
    assert books.status(runs[1]) == "begun"
    Path(books.log(runs[3])).write_text("")
    assert not runs[3].folder.exists()
