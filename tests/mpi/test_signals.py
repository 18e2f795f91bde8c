"""Signals in the middle of training: a checkpoint, exit status 75, and the run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import run_job, start_job
from runs import ITERATION, JOBS, newest, progress

from ppo_mpi.distributed.signals import EXIT_STOPPED, GRACEFUL
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import is_done

WORDS = ["train", *JOBS["CartPole"], "--run", "r"]
LONG = ["--total-timesteps", str(10_000 * ITERATION), "--checkpoint-every", "1000000"]


def wait_for_iterations(run_dir: Path, number: int, job: subprocess.Popen[str]) -> None:
    """Wait until a running job has written that many iterations."""
    deadline = time.monotonic() + 120
    file = run_dir / "progress.csv"
    while not file.exists() or file.read_text().count("\n") <= number:
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, "the job does not get anywhere"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("num_ranks", "name"), [(0, name) for name in GRACEFUL] + [(2, "SIGUSR1"), (3, "SIGUSR1")]
)
def test_a_signal_in_the_middle_of_training_saves_and_the_run_goes_on(
    num_ranks: int, name: str, tmp_path: Path
):
    run_dir = tmp_path / "checkpoints" / "r"
    job = start_job(num_ranks, *WORDS, *LONG, cwd=tmp_path)
    wait_for_iterations(run_dir, 2, job)
    job.send_signal(getattr(signal, name))
    output, errors = job.communicate(timeout=60)
    assert job.returncode == EXIT_STOPPED, output + errors
    assert "Traceback" not in output + errors
    state = load_checkpoint(newest(run_dir)).state
    stopped_at = state["iteration"]
    assert len(progress(run_dir)) == stopped_at >= 2  # saved where it stopped, not before
    assert not is_done(run_dir)

    total = (stopped_at + 2) * ITERATION
    run_job(num_ranks, *WORDS, "--total-timesteps", str(total), cwd=tmp_path)
    assert [row["iteration"] for row in progress(run_dir)] == [
        str(iteration) for iteration in range(1, stopped_at + 3)
    ]
    assert newest(run_dir).name == f"step-{total:012d}"
    assert is_done(run_dir)


def ranks_of(launcher: int) -> list[int]:
    """Return the processes below a launcher that run the package."""
    parents = {}
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text()
        except OSError:  # no process, or one that has ended meanwhile
            continue
        if entry.name.isdigit():
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    below = {launcher}
    for _ in range(3):  # mpirun, its helper on this node, the ranks
        below |= {pid for pid, parent in parents.items() if parent in below}
    words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in below}
    return sorted(pid for pid in below - {launcher} if words[pid][1:3] == [b"-m", b"ppo_mpi"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for the ranks in /proc")
def test_a_signal_to_one_rank_alone_stops_all_of_them_together(tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    job = start_job(2, *WORDS, *LONG, cwd=tmp_path)
    wait_for_iterations(run_dir, 1, job)
    ranks = ranks_of(job.pid)
    assert len(ranks) == 2
    os.kill(ranks[-1], signal.SIGUSR1)
    output, errors = job.communicate(timeout=60)
    assert job.returncode == EXIT_STOPPED, output + errors
    assert load_checkpoint(newest(run_dir)).state["iteration"] == len(progress(run_dir))


@pytest.mark.parametrize("num_ranks", [0, 2])
def test_a_time_limit_ends_with_status_0_and_a_checkpoint(num_ranks: int, tmp_path: Path):
    began = time.monotonic()
    run_job(num_ranks, *WORDS, *LONG, "--max-seconds", "3", cwd=tmp_path)
    seconds = time.monotonic() - began
    run_dir = tmp_path / "checkpoints" / "r"
    assert load_checkpoint(newest(run_dir)).state["iteration"] == len(progress(run_dir)) >= 1
    assert not is_done(run_dir)
    assert 3 < seconds < 60
