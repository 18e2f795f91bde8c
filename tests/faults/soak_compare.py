"""Compares the runs of soak.py with undisturbed ones, which are trained for that."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs import job_command, job_environment
from runs import assert_same_bits, assert_same_progress, episodes
from soak_job import RANKS, SoakJob
from soak_summary import Record

from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.run_folder import step_name

TIMEOUT_SECONDS = 7200
"""For one undisturbed run, which takes minutes."""


def compare(
    jobs: Sequence[SoakJob], record: Record, folder: Path, wheel: str, say: Callable[[str], None]
) -> None:
    """Compare each run, finished or not, with an undisturbed one of as many timesteps.

    Args:
        jobs: what was disturbed; jobs of one game and length are the same.
        record: is told of the differences.
        folder: for the undisturbed runs.
        wheel: the MPI library.
        say: prints.
    """
    references: dict[tuple[str, str], Path] = {}
    for job in jobs:
        try:
            checkpoint = job.newest()
        except CheckpointError as error:
            record.problems.append(str(error))
            continue
        if checkpoint is None:
            continue
        key = (job.game, checkpoint.path.name)
        if key not in references:
            name = f"{job.game}-{step_name(checkpoint.state['timesteps'])}"
            say(f"{name} is trained undisturbed")
            references[key] = train_undisturbed(
                job, name, checkpoint.state["timesteps"], folder, wheel
            )
        difference = difference_of(job.run_dir, references[key])
        if difference:
            record.problems.append(f"{job.run_dir.name} differs: {difference}")
        verdict = "differs from the undisturbed run" if difference else "same bits as undisturbed"
        record.runs.append(
            f"{job.run_dir.name:18} {checkpoint.state['iteration']:7,} iterations in "
            f"{job.lives():3} lives  {verdict}"
        )


def difference_of(run_dir: Path, other: Path) -> str:
    """Return what differs between two runs; empty if nothing does."""
    try:
        assert_same_bits(run_dir, other, ("model", "optimizer", "normalizers"))
        assert episodes(run_dir) == episodes(other), "episodes.csv"
        assert_same_progress(run_dir, other)
    except AssertionError as error:
        return str(error)[:300]
    return ""


def train_undisturbed(job: SoakJob, name: str, timesteps: int, folder: Path, wheel: str) -> Path:
    """Train a run at once on as many ranks, without the supervisor; return its folder."""
    words = ["-m", "ppo_mpi", "train", *job.words, "--total-timesteps", str(timesteps)]
    words += ["--checkpoint-dir", str(folder / "undisturbed"), "--run", name]
    with (folder / f"undisturbed-{name}.log").open("wb") as log:
        subprocess.run(
            job_command(RANKS, [*words, "--keep-checkpoints", "1"], wheel),
            cwd=folder,
            env=job_environment(),
            stdout=log,
            stderr=log,
            timeout=TIMEOUT_SECONDS,
            check=True,
        )
    return folder / "undisturbed" / name
