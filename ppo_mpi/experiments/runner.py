"""Carries an experiment out: trains what is not finished, evaluates, then draws.

Each run is a process of its own and is gone on with where it was interrupted; what is finished is
not touched. The same command, given again, therefore completes what is missing.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ppo_mpi import registry
from ppo_mpi.distributed.launchers import find_launcher
from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.distributed.supervisor import Supervisor
from ppo_mpi.experiments.base import (
    Evaluation,
    PlannedRun,
    Recording,
    find_experiment,
    label_of,
)
from ppo_mpi.experiments.results import measured_speed
from ppo_mpi.experiments.slurm import array_script, submit
from ppo_mpi.modes.dry_run import duration
from ppo_mpi.settings.experiment import ExperimentConfig
from ppo_mpi.storage.durable import explained, write_atomically

BAD_INPUT = 2
GRACE_SECONDS = 120.0
"""How long a run may take to save when the experiment is told to stop."""
MODULE = (sys.executable, "-m", "ppo_mpi")


def experiment_command(config: ExperimentConfig, words: Sequence[str]) -> int:
    """Carry an experiment out, or list the experiments.

    Args:
        config: which, and with which runs.
        words: behind ``--``: settings of ``train`` for all runs.

    Returns:
        the exit status: 0 done, 75 told to stop (the same line goes on), 1 a run failed.

    Raises:
        ConfigError: there is no such experiment, or a run's words cannot be.
    """
    if not config.name:
        for name in registry.EXPERIMENTS:
            print(f"{name:24}{find_experiment(name).summary}")
        return 0
    experiment = find_experiment(config.name)
    runs = experiment.plan(config, words)
    if config.slurm:
        return hand_to_slurm(config, runs)
    if config.dry_run:
        show_plan(config, runs)
        return 0
    folder = asset_folder(config)
    with explained("make the folder of figures", folder):
        folder.mkdir(parents=True, exist_ok=True)
    status = 0 if config.figures_only else carry_out(config, runs)
    if status in (BAD_INPUT, EXIT_STOPPED):
        return status
    for path in experiment.conclude(config, runs, folder):
        print(f"wrote {path}")
    return status


def asset_folder(config: ExperimentConfig) -> Path:
    """Return where tables and figures go."""
    return Path(config.asset_dir) / label_of(config)


def carry_out(config: ExperimentConfig, runs: Sequence[PlannedRun]) -> int:
    """Train and evaluate, one run after the other.

    Returns:
        0; 2 if a run's words cannot be; 75 if it was told to stop; 1 if runs failed.
    """
    supervisor = Supervisor(GRACE_SECONDS)
    supervisor.take_signals()
    failed = []
    for number, run in enumerate(runs, start=1):
        heading = f"run {number} of {len(runs)}: {run.folder}"
        if run.status() != "finished" and not config.skip_training:
            say(f"{heading}, from {run.timesteps_done():,} of {run.timesteps:,} timesteps")
            status = supervisor.run(training(config.ranks, run), {}).status
            if supervisor.told_to_stop or status == EXIT_STOPPED:
                say("stopped; the same line goes on")
                return EXIT_STOPPED
            if status == BAD_INPUT:
                return BAD_INPUT
            if status or run.status() != "finished":
                say(f"{heading} was not finished (status {status}); the others go on")
                failed.append(run)
                continue
        if not run.timesteps_done():
            continue
        left: list[Evaluation | Recording] = [*run.open_evaluations(), *run.open_recordings()]
        for work in left:
            if isinstance(work, Evaluation):
                say(f"{heading}, {work.file}")
                status = evaluate(run, work, supervisor)
            else:
                say(f"{heading}, {work.path.name}")
                status = record(run, work, supervisor)
            if supervisor.told_to_stop:
                return EXIT_STOPPED
            if status:
                failed.append(run)
    if failed:
        say("not done: " + ", ".join(sorted({run.folder.name for run in failed})))
    return 1 if failed else 0


def training(ranks: int, run: PlannedRun) -> list[str]:
    """Return the command that trains a run on this machine."""
    if ranks == 1:
        return [*MODULE, *run.words]
    return [*MODULE, "launch", "--ranks", str(ranks), "--", *run.words]


def evaluate(
    run: PlannedRun, evaluation: Evaluation, supervisor: Supervisor, output: Path | None = None
) -> int:
    """Evaluate a run; return the exit status. ``output``: a file for what is printed."""
    path = run.folder / evaluation.file
    words = ["evaluate", "--run", str(run.folder), *evaluation.words]
    words += ["--json", str(path), "--table", str(path.with_suffix(".csv"))]
    status = supervisor.run([*MODULE, *words], {}, output=output).status
    if status == 0:
        with explained("write how it was evaluated", run.folder):
            content = json.dumps(list(evaluation.words)).encode()
            write_atomically(run.words_path(evaluation), content + b"\n")
    return status


def record(run: PlannedRun, recording: Recording, supervisor: Supervisor) -> int:
    """Make a video of a run; return the exit status."""
    words = ["record", "--run", str(run.folder), *recording.words, "--output", str(recording.path)]
    status = supervisor.run([*MODULE, *words], {}).status
    if status == 0:
        with explained("write how the video was made", run.folder):
            content = json.dumps(run.recorded_as(recording)).encode()
            write_atomically(run.recorded_path(recording), content + b"\n")
    return status


def show_plan(config: ExperimentConfig, runs: Sequence[PlannedRun]) -> None:
    """Print the runs, what is done of them, and how long the rest takes."""
    for run in runs:
        print(f"{run.status():10}{run.timesteps_done():,} of {run.timesteps:,}  {run.folder}")
        print(f"    {shlex.join(['python', *training(config.ranks, run)[1:]])}")
    left = sum(
        max(0, run.timesteps - run.timesteps_done()) for run in runs if run.status() != "finished"
    )
    evaluations = sum(len(run.open_evaluations()) for run in runs)
    videos = sum(len(run.open_recordings()) for run in runs)
    more = f" and {evaluations} evaluations" + (f" and {videos} videos" if videos else "")
    print(f"\n{len(runs)} runs, {left:,} timesteps{more} are left")
    if not left:
        return
    speed, source = measured_speed(runs), "as the runs so far"
    if speed is None:
        speed, source = probed_speed(config, runs[0]), "probe of some seconds"
    if speed:
        print(
            f"about {duration(left / speed)} on this machine, one after the other, at {speed:,.0f} "
            f"timesteps/s ({source})"
        )


def probed_speed(config: ExperimentConfig, run: PlannedRun) -> float | None:
    """Return the timesteps per second that ``train --dry-run`` measures; None if it fails."""
    command = [*MODULE, *run.words, "--dry-run"]
    if config.ranks > 1:
        command = find_launcher("").command(config.ranks, {}, "", False, command)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    found = re.search(r"^speed +about ([\d,]+) timesteps/s", done.stdout, re.MULTILINE)
    return float(found[1].replace(",", "")) if found else None


def hand_to_slurm(config: ExperimentConfig, runs: Sequence[PlannedRun]) -> int:
    """Submit the unfinished runs as an array, or print the script.

    Raises:
        ConfigError: Slurm, or the scripts of the repository's launch/, are not there.
    """
    left = [run for run in runs if run.status() != "finished"]
    if not left:
        print("all runs are finished; without --slurm they are evaluated and drawn")
        return 0
    script = array_script(label_of(config), config.ranks, left)
    if config.dry_run:
        print(script, end="")
        return 0
    folder = asset_folder(config)
    with explained("make the folder of the script", folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "runs.slurm"
        write_atomically(path, script.encode())
    job = submit(path, config.slurm_args)
    print(f"submitted {path} as job {job}: {len(left)} of {len(runs)} runs")
    print("when it is done: the same line with --skip-training instead of --slurm")
    return 0


def say(text: str) -> None:
    """Tell the user, between what the runs print."""
    Console(stderr=True, highlight=False).print(f"[bold]{escape(text)}[/bold]", soft_wrap=True)
