"""A stop does not wait for the end of a long iteration: its beginning is saved, and repeated."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from jobs import run_job, start_job
from runs import JOBS, assert_same_bits, assert_same_progress, episodes, newest, progress

from ppo_mpi.distributed.heart import EVALUATING
from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.storage.checkpoint import load_checkpoint

ITERATION = 49_152
LONG = ["train", *JOBS["CartPole"], "--rollout-timesteps", str(ITERATION), "--num-epochs", "15",
        "--eval-every", "0", "--total-timesteps", str(2 * ITERATION)]  # fmt: skip
NO_GRACE = ["--stop-grace-seconds", "0"]


def wait_for(run_dir: Path, phase: str, iteration: int, job: subprocess.Popen[str]) -> None:
    """Wait until rank 0 says that it is there."""
    deadline = time.monotonic() + 120
    while True:
        record = read_record(run_dir / "ranks", HEARTBEAT, 0) or {}
        if (record.get("phase"), record.get("iteration")) == (phase, iteration):
            return
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, record
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_job(0, *LONG, "--run", "r", cwd=folder)
    return folder / "checkpoints" / "r"


@pytest.mark.parametrize(
    ("num_ranks", "phase"),
    [pytest.param(0, "learning", marks=pytest.mark.faults), (2, "collecting")],
)
def test_a_stop_in_the_midst_of_an_iteration_saves_its_beginning_and_the_run_is_the_same(
    num_ranks: int, phase: str, undisturbed: Path, tmp_path: Path
):
    run_dir = tmp_path / "checkpoints" / "r"
    job = start_job(num_ranks, *LONG, *NO_GRACE, "--run", "r", cwd=tmp_path)
    wait_for(run_dir, phase, 2, job)
    job.send_signal(signal.SIGUSR1)
    output, errors = job.communicate(timeout=60)
    assert job.returncode == EXIT_STOPPED, output + errors
    assert load_checkpoint(newest(run_dir)).state["iteration"] == 1
    run_job(num_ranks, *LONG, "--run", "r", cwd=tmp_path)
    assert_same_bits(run_dir, undisturbed, ("model", "optimizer", "normalizers"))
    assert_same_progress(run_dir, undisturbed)
    assert episodes(run_dir) == episodes(undisturbed)


def test_a_stop_in_the_first_iteration_leaves_nothing_to_go_on_from_and_the_run_begins_again(
    undisturbed: Path, tmp_path: Path
):
    run_dir = tmp_path / "checkpoints" / "r"
    job = start_job(2, *LONG, *NO_GRACE, "--run", "r", cwd=tmp_path)
    wait_for(run_dir, "learning", 1, job)
    job.send_signal(signal.SIGUSR1)
    output, errors = job.communicate(timeout=60)
    assert job.returncode == EXIT_STOPPED, output + errors
    run_job(2, *LONG, "--run", "r", cwd=tmp_path)
    assert_same_bits(run_dir, undisturbed, ("model", "optimizer", "normalizers"))
    assert episodes(run_dir) == episodes(undisturbed)


@pytest.mark.faults
def test_an_iteration_within_the_grace_time_is_completed(tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    job = start_job(0, *LONG, "--stop-grace-seconds", "100", "--run", "r", cwd=tmp_path)
    wait_for(run_dir, "learning", 1, job)
    job.send_signal(signal.SIGUSR1)
    output, errors = job.communicate(timeout=120)
    assert job.returncode == EXIT_STOPPED, output + errors
    assert load_checkpoint(newest(run_dir)).state["iteration"] == 1


def test_a_stop_in_the_midst_of_a_long_evaluation_does_not_wait_for_its_end(tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    long = [*JOBS["CartPole"], "--eval-every", "2", "--eval-episodes", "1000000", "--run", "r"]
    job = start_job(2, "train", *long, *NO_GRACE, cwd=tmp_path)
    wait_for(run_dir, EVALUATING, 2, job)
    job.send_signal(signal.SIGUSR1)
    output, errors = job.communicate(timeout=60)
    assert job.returncode == EXIT_STOPPED, output + errors
    assert load_checkpoint(newest(run_dir)).state["iteration"] == 1
    assert len(progress(run_dir)) == 1
