"""The command of a search: what it shows, what it hands to Slurm, and what it refuses."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from made_sweeps import GRID, search_of, write_curve

from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.sweep import SweepConfig
from ppo_mpi.sweeps.command import alone, prepare, sweep_command
from ppo_mpi.sweeps.trials import Books, plan_trials


@pytest.fixture
def config(tmp_path) -> SweepConfig:
    (tmp_path / "s.yaml").write_text(GRID)
    return SweepConfig(
        str(tmp_path / "s.yaml"), label="x", checkpoint_dir=str(tmp_path / "runs"),
        asset_dir=str(tmp_path / "assets"),
    )  # fmt: skip


def planned(config: SweepConfig):
    return plan_trials(search_of(), Path(config.checkpoint_dir) / "x")


def finish(config: SweepConfig, number: int) -> None:
    for run in planned(config)[number].runs:
        Books(run.folder.parent).write(run)
        write_curve(run, 4096, lambda run, share: share)


def test_a_dry_run_lists_the_trials_and_what_is_left_and_makes_nothing(config, capsys, tmp_path):
    assert sweep_command(replace(config, dry_run=True)) == 0
    shown = capsys.readouterr().out
    assert "trial 3: learning_rate=0.004 (seed 0 new, seed 1 new)" in shown
    assert "4 trials, 8 runs, 32,768 timesteps; 32,768 are left" in shown
    assert {path.name for path in tmp_path.iterdir()} == {"s.yaml"}
    finish(config, 3)
    sweep_command(replace(config, dry_run=True))
    shown = capsys.readouterr().out
    assert "(seed 0 finished, seed 1 finished)" in shown
    assert "24,576 are left" in shown


def test_the_table_is_made_of_what_is_there(config, capsys):
    finish(config, 1)
    assert sweep_command(replace(config, table_only=True)) == 0
    shown = capsys.readouterr().out
    assert "best: python -m ppo_mpi train --env probe:match" in shown
    text = (Path(config.asset_dir) / "x" / "results.csv").read_text()
    assert [line.split(",")[:3] for line in text.splitlines()[1:]] == [
        ["1", "1", "finished"], ["", "0", "new"], ["", "2", "new"], ["", "3", "new"],
    ]  # fmt: skip


def test_the_array_has_a_task_for_each_unfinished_run_of_each_seed(config, capsys):
    finish(config, 0)
    script = Path(config.checkpoint_dir) / "x" / "sweep" / "runs.slurm"
    assert sweep_command(replace(config, slurm=True, dry_run=True)) == 0
    assert not script.exists()
    shown = capsys.readouterr().out
    assert sweep_command(replace(config, slurm=True)) == 0
    assert script.read_text() == shown
    assert "#SBATCH --array=0-5\n" in shown
    assert "made by `ppo_mpi sweep --slurm`" in shown
    assert subprocess.run(["bash", "-n"], input=shown, text=True, check=False).returncode == 0
    line = next(line for line in shown.splitlines() if line.startswith("  5) words=("))
    words = line.partition("(")[2].removesuffix(") ;;").split()
    assert parse_command(["train", *words]).config == planned(config)[3].runs[1].config
    told = capsys.readouterr().out
    assert "6 of 8 runs" in told
    assert "--table-only" in told
    for number in (1, 2, 3):
        finish(config, number)
    assert sweep_command(replace(config, slurm=True)) == 0
    assert "all runs are finished" in capsys.readouterr().out


def test_what_cannot_be_an_array_is_refused(config):
    path = Path(config.file)
    path.write_text(GRID + "stop: {}")
    with pytest.raises(ConfigError, match="slurm=true is not for a search with stop"):
        sweep_command(replace(config, slurm=True))
    pytest.importorskip("optuna")
    path.write_text(GRID + "method: optuna\ntrials: 2")
    with pytest.raises(ConfigError, match="slurm=true is not for method: optuna"):
        sweep_command(replace(config, slurm=True))
    with pytest.raises(ConfigError, match="retry_failed=true is not for method: optuna"):
        sweep_command(replace(config, retry_failed=True))


def test_runs_of_other_settings_are_deleted_only_if_that_is_wanted(config):
    finish(config, 0)
    finish(config, 1)
    path = Path(config.file)
    path.write_text(GRID + "settings: {num_epochs: 9}")
    with pytest.raises(ConfigError, match="begun with other settings: num_epochs=9"):
        sweep_command(replace(config, dry_run=True))
    folder = Path(config.checkpoint_dir) / "x"
    runs = [run for trial in plan_trials(search_of(path.read_text()), folder) for run in trial.runs]
    same = planned(config)[1].runs
    prepare(replace(config, clobber=True), [*runs[:2], *same], Books(folder), None)
    assert not any(run.folder.exists() for run in runs[:2])
    assert all(run.folder.exists() for run in same)


def test_a_second_search_in_the_folder_is_kept_out(tmp_path):
    with alone(tmp_path), pytest.raises(ConfigError, match="another process"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no file given; use for example sweep launch/sweep-cartpole.yaml"),
        (["a.yaml", "--label", "a/b"], "label='a/b' is to be the name of folders"),
        (["a.yaml", "--submit"], "submit=true hands the script of slurm=true"),
        (["a.yaml", "--slurm", "--table-only"], "slurm and table_only contradict"),
        (["a.yaml", "--parallel", "-1"], "parallel=-1 is too small"),
    ],
)
def test_words_that_cannot_be_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        parse_command(["sweep", *words])
