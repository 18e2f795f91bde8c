"""What an experiment is going to do: its runs, their words, what is left of them, its script."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import make_evaluation, make_run

from ppo_mpi import registry
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError
from ppo_mpi.experiments.base import find_experiment
from ppo_mpi.experiments.procgen_benchmark import SETTINGS, plan
from ppo_mpi.experiments.runner import experiment_command, training
from ppo_mpi.experiments.slurm import array_script
from ppo_mpi.settings.experiment import ExperimentConfig

NAME = "procgen-benchmark"


def settings(folder: Path, **changed: object) -> ExperimentConfig:
    config = ExperimentConfig(
        name=NAME, games="maze,coinrun", seeds=2, total_timesteps=65_536,
        checkpoint_dir=str(folder / "checkpoints"), asset_dir=str(folder / "assets"),
    )  # fmt: skip
    return replace(config, **changed)


def test_all_games_with_all_seeds_are_planned_with_the_published_settings(tmp_path):
    runs = plan(settings(tmp_path, games="all", seeds=3, total_timesteps=0), ())
    assert len(runs) == 48
    assert [r.group for r in runs[::3]] == list(registry.PROCGEN_GAMES)
    assert {(r.seed, r.config.job.seed) for r in runs} == {(0, 0), (1, 1), (2, 2)}
    assert len({run.folder for run in runs}) == 48
    config = runs[4].config
    assert runs[4].folder == tmp_path / "checkpoints/procgen-benchmark-easy-200/bossfight-seed1"
    assert (config.procgen.num_levels, config.procgen.distribution_mode) == (200, "easy")
    assert config.learning.learning_rate_schedule == "constant"
    assert config.environment.num_test_envs == 16
    assert runs[4].timesteps == 25_000_000 // 16_384 * 16_384


@pytest.mark.parametrize(
    ("setting", "mode", "levels", "timesteps"),
    [("easy-200", "easy", 200, 25e6), ("easy-all", "easy", 0, 25e6),
     ("hard-500", "hard", 500, 200e6), ("hard-all", "hard", 0, 200e6)],
)  # fmt: skip
def test_the_four_published_settings(tmp_path, setting, mode, levels, timesteps):
    run = plan(settings(tmp_path, setting=setting, total_timesteps=0), ())[0]
    procgen = run.config.procgen
    assert (procgen.distribution_mode, procgen.num_levels) == (mode, levels)
    assert run.config.job.total_timesteps == timesteps
    assert (run.config.environment.num_test_envs > 0) == (levels > 0)
    assert run.evaluations[0].words[:2] == ("--levels", "both" if levels else "test")
    assert set(SETTINGS) == {"easy-200", "easy-all", "hard-500", "hard-all"}


@pytest.mark.parametrize("preset", ["procgen-easy-200", "procgen-hard-500"])
def test_another_preset_and_more_words_win(tmp_path, preset):
    words = ["--network", "nature", "--num-levels", "50"]
    run = plan(settings(tmp_path, preset=preset), words)[0]
    assert run.config.learning.learning_rate_schedule == "linear"
    assert (run.config.network.network, run.config.procgen.num_levels) == ("nature", 50)


@pytest.mark.parametrize(
    "words",
    [("--run", "x"), ("--seed", "7"), ("--checkpoint-dir", "elsewhere")],
)
def test_words_that_make_one_run_of_several_are_refused(tmp_path, words):
    message = "env, seed, run and checkpoint_dir of the runs follow from --games"
    with pytest.raises(ConfigError, match=message):
        plan(settings(tmp_path), words)


def test_figures_of_held_out_levels_are_those_of_the_same_game(tmp_path):
    with pytest.raises(
        ConfigError, match="test_env=procgen:maze behind -- would let figures of held-out"
    ):
        plan(settings(tmp_path, games="coinrun"), ["--test-env", "maze"])
    plan(settings(tmp_path, games="maze"), ["--test-env", "maze"])


def test_what_cannot_be_is_said_before_anything_is_run(tmp_path):
    with pytest.raises(ConfigError, match="unknown Procgen game 'coinrum'; did you mean coinrun"):
        plan(settings(tmp_path, games="maze,coinrum"), ())
    with pytest.raises(ConfigError, match="unknown setting '--network-size'"):
        plan(settings(tmp_path), ["--network-size", "3"])
    with pytest.raises(ConfigError, match="unknown experiment 'procgen'"):
        find_experiment("procgen")
    with pytest.raises(ConfigError, match="label='my runs' is to be the name of folders"):
        parse_command(["experiment", NAME, "--label", "my runs"])
    with pytest.raises(ConfigError, match="label='..' is to be the name of folders"):
        parse_command(["experiment", NAME, "--label", ".."])
    with pytest.raises(ConfigError, match="slurm and figures_only contradict each other"):
        parse_command(["experiment", NAME, "--slurm", "--figures-only"])
    with pytest.raises(ConfigError, match="seeds=0"):
        parse_command(["experiment", NAME, "--seeds", "0"])


def test_the_command_line_hands_words_behind_the_dashes_on():
    command = parse_command(["experiment", NAME, "--games", "maze", "--", "--network", "mlp"])
    assert (command.mode, command.config.name) == ("experiment", NAME)
    assert command.words == ("--network", "mlp")
    with pytest.raises(ConfigError, match="only launch and experiment have them"):
        parse_command(["train", "maze", "--", "--network", "mlp"])


def test_without_a_name_the_experiments_are_listed(capsys):
    assert experiment_command(ExperimentConfig(), ()) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in registry.EXPERIMENTS)


def test_a_run_is_finished_only_at_its_own_total(tmp_path):
    run, other, third, _ = plan(settings(tmp_path), ())
    assert run.status() == "new"
    make_run(run, lambda x: x, until=0.5)
    make_run(other, lambda x: x)
    assert (run.status(), run.timesteps_done()) == ("begun", 32_768)
    assert (other.status(), other.timesteps_done()) == ("finished", 65_536)
    longer = plan(settings(tmp_path, total_timesteps=131_072), ())[1]
    assert (longer.folder, longer.status()) == (other.folder, "begun")
    assert third.status() == "new"


def test_an_evaluation_is_made_again_when_the_run_or_its_words_have_changed(tmp_path):
    run = plan(settings(tmp_path), ())[0]
    make_run(run, lambda x: x, until=0.5)
    assert len(run.open_evaluations()) == 1
    make_evaluation(run, 1.0, 2.0)
    assert run.open_evaluations() == []
    assert len(plan(settings(tmp_path, eval_episodes=50), ())[0].open_evaluations()) == 1
    (run.folder / "step-000000065536").mkdir()
    assert len(run.open_evaluations()) == 1
    assert plan(settings(tmp_path, eval_episodes=0), ())[0].open_evaluations() == []


def test_several_ranks_are_supervised_by_launch(tmp_path):
    run = plan(settings(tmp_path), ())[0]
    assert training(1, run)[1:4] == ["-m", "ppo_mpi", "train"]
    words = training(4, run)[1:]
    assert words[:6] == ["-m", "ppo_mpi", "launch", "--ranks", "4", "--"]
    assert parse_command(words[2:]).launched.config == run.config


def test_the_plan_is_shown_with_what_is_left_and_how_long_it_takes(tmp_path, capsys):
    runs = plan(settings(tmp_path), ())
    make_run(runs[0], lambda x: x)
    make_run(runs[1], lambda x: x, until=0.5)
    assert experiment_command(settings(tmp_path, dry_run=True), ()) == 0
    shown = capsys.readouterr().out
    assert "finished  65,536 of 65,536" in shown
    assert "begun     32,768 of 65,536" in shown
    assert shown.count("new       0 of") == 2
    assert "python -m ppo_mpi train maze --preset procgen-paper-easy" in shown
    assert "4 runs, 163,840 timesteps and 4 evaluations are left" in shown
    assert "about 27 min on this machine" in shown  # 163,840 at 100.5/s, as the runs so far
    assert not (tmp_path / "assets").exists()


def test_the_array_has_a_task_for_each_unfinished_run(tmp_path, capsys):
    runs = plan(settings(tmp_path), ("--env-workers", "2"))
    make_run(runs[1], lambda x: x)
    config = settings(tmp_path, slurm=True, dry_run=True, ranks=4)
    assert experiment_command(config, ("--env-workers", "2")) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --array=0-2\n" in script
    assert "#SBATCH --ntasks-per-node=4\n" in script
    assert [f"{k}) words=(" in script for k in range(4)] == [True, True, True, False]
    checked = subprocess.run(["bash", "-n"], input=script, text=True, check=False)
    assert checked.returncode == 0


@pytest.mark.parametrize("task", [0, 2, 3])
def test_a_task_of_the_array_trains_its_run(tmp_path, task):
    """The script is run; in place of the cluster's job functions stands one that tells."""
    runs = plan(settings(tmp_path), ())[:3]
    script = tmp_path / "runs.slurm"
    script.write_text(array_script("x", 2, runs))
    (tmp_path / "slurm_job.sh").write_text('run_training() { printf "%s\\n" "$@"; }\n')
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "PPO_MPI_LAUNCH": str(tmp_path)}
    done = subprocess.run(
        ["bash", str(script)], env=environment, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    if task == 3:
        assert "there are 3 runs" in done.stdout
    else:
        assert done.stdout.splitlines() == list(runs[task].words[1:])


def test_runs_are_submitted_and_what_follows_is_said(tmp_path, capsys, monkeypatch):
    """A program named sbatch stands in for Slurm's: it writes down what it was given."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/given\necho "4711;cluster"\n')
    sbatch.chmod(sbatch.stat().st_mode | stat.S_IXUSR)
    config = settings(tmp_path, slurm=True, slurm_args="--partition=cpu --time=1:00:00")
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PPO_MPI_LAUNCH", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"nowhere/slurm_job.sh is missing"):
        experiment_command(config, ())
    launch = Path(__file__).resolve().parents[3] / "launch"
    monkeypatch.setenv("PPO_MPI_LAUNCH", str(launch))
    assert experiment_command(config, ()) == 0
    script = tmp_path / "assets" / "procgen-benchmark-easy-200" / "runs.slurm"
    assert (tmp_path / "given").read_text().split() == [
        "--parsable", "--partition=cpu", "--time=1:00:00", str(script),
    ]  # fmt: skip
    assert "as job 4711: 4 of 4 runs" in capsys.readouterr().out
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigError, match="there is no sbatch on the PATH"):
        experiment_command(config, ())
