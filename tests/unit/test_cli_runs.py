"""A run that is there brings its settings along, whatever it was begun with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ppo_mpi.cli import Command, parse_command
from ppo_mpi.cli_runs import settings_of_run
from ppo_mpi.cli_words import Sourced
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.modes.opening import open_run
from ppo_mpi.modes.train import train_command

COMM = Communicator()
SMALL = [
    "--num-envs", "4", "--rollout-timesteps", "64", "--total-timesteps", "64", "--hidden-sizes",
    "4", "--display", "off", "--report", "false", "--run", "r", "--num-minibatches", "1",
]  # fmt: skip
BEGINNINGS = {
    "its own preset": ["CartPole-v1"],
    "a2c by its preset": ["CartPole-v1", "--algorithm", "a2c"],
    "acktr by its preset": ["CartPole-v1", "--algorithm", "acktr"],
    "ppg": ["CartPole-v1", "--algorithm", "ppg", "--aux-minibatches", "4"],
    "a preset of ppo, and a2c": ["--preset", "cartpole", "--algorithm", "a2c", "--num-epochs", "1"],
    "a preset of another algorithm": ["--preset", "atari-acktr", "--env", "CartPole-v1",
                                      "--network", "mlp", "--conv-channels="],
}  # fmt: skip


def train(*words: str) -> Command:
    command = parse_command(["train", *words], looks_at_run=True)
    assert train_command(command.config, command.given | {"clobber": command.clobber}, COMM) == 0
    return command


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "checkpoints" / "r"


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_run_goes_on_by_its_name_alone(beginning: str, folder: Path):
    begun = train(*BEGINNINGS[beginning], *SMALL).config
    command = parse_command(["train", "--run", "r"], looks_at_run=True)
    assert command.config == begun
    assert (command.preset, command.notes, command.given) == ("", [], {"run": "r"})
    more = parse_command(["train", "--run", "r", "--total-timesteps", "128"], looks_at_run=True)
    opening = open_run(more.config, more.given, COMM)
    opening.lock.release()
    assert opening.config == more.config
    assert opening.checkpoint is not None
    assert not opening.finished


def test_where_a_value_comes_from_is_said(folder: Path):
    train("CartPole-v1", *SMALL)
    command = parse_command(
        ["train", "--run", "r", "--dry-run", "--max-seconds", "5"], looks_at_run=True
    )
    assert command.origins["num_envs"].startswith("checkpoints/r/config.yaml:")
    assert command.origins["max_seconds"] == command.origins["run"] == "command line"
    assert command.notes == ["the settings are those of checkpoints/r, which is there"]
    words = ["train", "CartPole-v1", "--run", "r", "--dry-run", "--num-envs", "8"]
    with pytest.raises(ConfigError, match=r"num_envs=8 \(the run has 4\) was given; leave it out"):
        parse_command(words, looks_at_run=True)


def test_settings_that_do_not_fit_the_run_are_refused_as_its_own(folder: Path):
    train("CartPole-v1", *SMALL)
    words = ["train", "--run", "r", "--algorithm", "a2c", "--num-envs", "6"]
    command = parse_command(words, looks_at_run=True)
    message = r"\(train --run r is enough\), but algorithm=a2c \(the run has ppo\) was given"
    with pytest.raises(ConfigError, match=message):
        open_run(command.config, command.given, COMM)


def test_more_ranks_than_the_preset_has_environments_may_go_on(folder: Path):
    train("probe:match", *SMALL, "--num-envs", "80", "--rollout-timesteps", "80")
    parse_command(["train", "--run", "r"], looks_at_run=True).config.validate(world_size=80)


def test_a_run_named_alone_starts_over_with_its_own_settings(folder: Path):
    begun = train("CartPole-v1", *SMALL).config
    again = parse_command(["train", "--run", "r", "--clobber", "--seed", "3"], looks_at_run=True)
    assert again.config.environment == begun.environment
    assert again.config.job.seed == 3
    other = parse_command(["train", "Acrobot-v1", "--run", "r", "--clobber"], looks_at_run=True)
    assert other.preset == "acrobot"


def test_a_run_that_has_saved_nothing_begins_with_what_was_typed(folder: Path):
    train("CartPole-v1", *SMALL)
    for checkpoint in folder.glob("step-*"):
        checkpoint.rename(folder.parent / "elsewhere")
    assert parse_command(["train", "CartPole-v1", "--run", "r"], looks_at_run=True).preset
    alone = parse_command(["train", "--run", "r"], looks_at_run=True)
    assert alone.config.environment.env == "gym:CartPole-v1"


def test_the_settings_of_a_stranger_run_no_code(folder: Path):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("env: user:antigravity:fly\ncheckpoint_dir: /elsewhere\n")
    command = parse_command(["train", "--run", "r"], looks_at_run=True)
    assert command.config.environment.env == "user:antigravity:fly"
    assert command.config.job.checkpoint_dir == "checkpoints"
    with pytest.raises(CheckpointError, match="the settings of checkpoints/r names the"):
        open_run(command.config, command.given, COMM)


@pytest.mark.parametrize("kind", ["pipe", "endless", "deep"])
def test_a_config_that_is_no_file_of_settings_keeps_nobody_waiting(kind: str, folder: Path):
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 50_000)
    assert settings_of_run({"run": Sourced(("r",), "command line")}, clobber=False) is None


def test_a_damaged_config_does_not_keep_a_run_from_going_on(folder: Path):
    train("CartPole-v1", *SMALL)
    (folder / "config.yaml").write_text("num_envs: [")
    command = parse_command(["train", "--run", "r"], looks_at_run=True)
    opening = open_run(command.config, command.given, COMM)
    opening.lock.release()
    assert opening.config.environment.env == "gym:CartPole-v1"
