"""train --dry-run: sizes, origins, and that nothing is written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ppo_mpi.build import build_run
from ppo_mpi.cli import parse_command
from ppo_mpi.config import flatten
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Box, Discrete, ObservationSpec
from ppo_mpi.modes import dry_run
from ppo_mpi.modes.dry_run import (
    duration,
    probe_config,
    rollout_memory,
    settings_table,
    size_lines,
)


def test_the_table_has_every_setting_with_its_origin():
    command = parse_command(["train", "CartPole-v1", "--seed", "3"])
    lines = settings_table(command.config, command.origins)
    rows = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert set(rows) == set(flatten(command.config))
    assert rows["seed"].split() == ["seed", "3", "command", "line"]
    assert "preset cartpole:" in rows["discount"]
    assert rows["hidden_sizes"].split()[1:3] == ["64", "64"]


PRESETS = ["procgen-easy", "procgen-hard-500", "procgen-ppg-hard", "cartpole", "lunarlander"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_the_probe_is_short_and_valid(preset, world_size):
    config = parse_command(["train", "--preset", preset]).config
    probe = probe_config(config, world_size)
    probe.validate(world_size)
    assert probe.learning.num_minibatches <= probe.rollout_steps <= config.rollout_steps
    bound = max(512 * world_size, config.environment.num_envs)
    assert probe.learning.rollout_timesteps <= bound
    assert probe.learning.num_epochs == config.learning.num_epochs
    # Each timestep goes through as many auxiliary epochs, in minibatches of about the same size.
    assert (probe.ppg.policy_iterations, probe.ppg.aux_epochs) == (1, config.ppg.aux_epochs)
    sizes = [c.learning.rollout_timesteps / c.ppg.aux_minibatches for c in (probe, config)]
    assert sizes[0] < 2 * sizes[1] or probe.ppg.aux_minibatches == probe.rollout_steps


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize(("length", "num_minibatches"), [(0, 8), (64, 8), (100, 48), (16, 256)])
def test_the_probe_has_sequences_as_long_as_the_run(
    length: int, num_minibatches: int, world_size: int
):
    words = ["CartPole-v1", "--num-envs", "8", "--rollout-timesteps", "4096", "--recurrent", "gru"]
    words += ["--sequence-steps", str(length), "--num-minibatches", str(num_minibatches)]
    config = parse_command(["train", *words]).config
    config.validate(world_size)
    probe = probe_config(config, world_size)
    probe.validate(world_size)
    assert probe.learning.sequence_steps == length <= probe.rollout_steps
    assert probe.rollout_steps <= max(64 * world_size, length)


def test_the_memory_of_a_rollout_is_counted_by_hand():
    image = ObservationSpec((64, 64, 3), "uint8")
    assert rollout_memory(2, 3, image, Discrete(15)) == 6 * (12_288 + 8 + 24 + 2)
    vector = ObservationSpec((5,), "float32")
    assert rollout_memory(1, 1, vector, Box((0.0,) * 2, (1.0,) * 2)) == 20 + 8 + 24 + 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45.2, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (363_600, "4 d 5 h")],
)
def test_times_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text


def test_a_dry_run_measures_and_writes_nothing(tmp_path):
    words = ["train", "CartPole-v1", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-m", "ppo_mpi", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "environments 8 = 1 x 8" in done.stdout
    assert "parameters   9,155" in done.stdout
    assert "ETA" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_parameters_of_a_reward_model_are_told_and_counted():
    words = ["CartPole-v1", "--reward-model", "rnd", "--rnd-predictor-sizes", "64"]
    config = parse_command(["train", *words]).config
    comm = Communicator()
    run = build_run(probe_config(config, 1), comm)
    lines = {line.split()[0]: line for line in size_lines(config, run, comm)}
    run.close()
    torso = (4 * 128 + 128) + 2 * (128 * 128 + 128)
    target, predictor = torso + 128 * 512 + 512, torso + (128 * 64 + 64) + (64 * 512 + 512)
    assert lines["parameters"].split(maxsplit=1)[1] == (
        f"9,155 and {target + predictor:,} of the reward model"
    )
    # What learns has a gradient and two moments of Adam's; rnd's target is fixed.
    num_bytes = 4 * (4 * 9_155 + 4 * predictor + target)
    assert f"and {num_bytes / 2**20:,.1f} MiB for the models with" in lines["memory"]


@pytest.mark.parametrize(("optimizer", "moments"), [("adam", 2), ("rmsprop", 1)])
def test_the_memory_of_the_model_is_that_of_its_optimizer(optimizer: str, moments: int):
    words = ["CartPole-v1", "--hidden-sizes", "512", "512", "--optimizer", optimizer]
    config = parse_command(["train", *words]).config
    comm = Communicator()
    run = build_run(probe_config(config, 1), comm)
    (line,) = [line for line in size_lines(config, run, comm) if line.startswith("memory")]
    run.close()
    numbers = sum(parameter.numel() for parameter in run.model.parameters())
    assert f"and {4 * (2 + moments) * numbers / 2**20:,.1f} MiB for the model with" in line


@pytest.mark.parametrize(("length", "is_said"), [(0, True), (16, False)])
def test_a_speed_with_shorter_sequences_than_the_runs_says_so(
    length: int, is_said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(dry_run, "PROBE_SECONDS", 0.1)
    words = ["CartPole-v1", "--num-envs", "8", "--rollout-timesteps", "4096", "--recurrent", "gru"]
    command = parse_command(["train", *words, "--sequence-steps", str(length)])
    assert dry_run.dry_run_command(command.config, command.origins, Communicator()) == 0
    shown = "with sequences of 64 steps, more of them side by side; those of 512 are slower"
    assert (shown in capsys.readouterr().out) == is_said
