"""One job at a time in a run's folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from ppo_mpi.errors import ConfigError
from ppo_mpi.storage import run_lock
from ppo_mpi.storage.run_lock import RunLock, job_token

HOLD = """
import sys
from pathlib import Path
from ppo_mpi.storage import run_lock
from ppo_mpi.storage.run_lock import RunLock, job_token
RunLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_job_is_told_who_trains_in_the_folder(tmp_path):
    first = RunLock(tmp_path)
    first.acquire()
    first.acquire()  # its own lock is no obstacle
    with pytest.raises(ConfigError, match=rf"another job trains in .*process {os.getpid()} on "):
        RunLock(tmp_path).acquire()
    first.release()
    RunLock(tmp_path).acquire()


def test_the_lock_ends_with_its_holder_even_if_that_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ConfigError, match=rf"process {holder.pid} on "):
        RunLock(tmp_path).acquire()
    holder.kill()
    holder.communicate()
    RunLock(tmp_path).acquire()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write .*file/.lock"):
        RunLock(tmp_path / "file").acquire()


ELSEWHERE = "process 1 on another-host in job slurm-7."


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "WATCH_SECONDS", 1.0)
    monkeypatch.setattr(run_lock, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(run_lock, "SETTLE_SECONDS", 0.3)


@pytest.mark.usefixtures("_short")
def test_a_holder_on_another_host_counts_as_long_as_it_touches_the_file(tmp_path):
    (tmp_path / ".lock").write_text(ELSEWHERE)
    over = threading.Event()

    def touch() -> None:
        while not over.wait(0.2):
            os.utime(tmp_path / ".lock")

    toucher = threading.Thread(target=touch)
    toucher.start()
    with pytest.raises(ConfigError, match=r"another job trains in .*process 1 on another-host"):
        RunLock(tmp_path).acquire()
    over.set()
    toucher.join()
    beats = []
    lock = RunLock(tmp_path)
    warning = lock.acquire(lambda: beats.append(1))
    assert "was left by process 1 on another-host" in warning
    assert len(beats) > 3
    lock.release()


def test_a_holder_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "REFRESH_SECONDS", 0.1)
    lock = RunLock(tmp_path)
    lock.acquire()
    before = (tmp_path / ".lock").stat().st_mtime_ns
    deadline = time.monotonic() + 10
    while (tmp_path / ".lock").stat().st_mtime_ns == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / ".lock").stat().st_mtime_ns > before
    lock.release()


def test_what_an_earlier_life_of_the_job_left_on_another_host_is_taken_at_once(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    (tmp_path / ".lock").write_text(ELSEWHERE)
    began = time.monotonic()
    lock = RunLock(tmp_path)
    assert lock.acquire() == ""
    assert time.monotonic() - began < 5
    lock.release()


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("content", [ELSEWHERE, "noise"])
def test_without_locks_a_fresh_holder_that_cannot_be_asked_is_left_alone(
    tmp_path, monkeypatch, content
):
    monkeypatch.setattr("fcntl.flock", no_locks)
    (tmp_path / ".lock").write_text(content)
    with pytest.raises(ConfigError, match="if that job is gone, remove .*lock"):
        RunLock(tmp_path).acquire()
    old = time.time() - 2 * run_lock.STALE_SECONDS
    os.utime(tmp_path / ".lock", (old, old))
    lock = RunLock(tmp_path)
    assert "was left by" in lock.acquire()
    lock.release()


def no_locks(*arguments: object) -> None:
    raise OSError(37, "no locks available")


@pytest.mark.usefixtures("_short")
def test_of_two_who_find_no_locks_and_no_holder_one_gives_way(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", no_locks)

    def overtake() -> None:
        if (tmp_path / ".lock").read_text().startswith("process"):
            (tmp_path / ".lock").write_text("process 9 on another-host")

    with pytest.raises(ConfigError, match="process 9 on another-host"):
        RunLock(tmp_path).acquire(overtake)


@pytest.mark.parametrize(
    ("environ", "token"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "7"}, "slurm-7."),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2"}, "slurm-7.2"),
        ({"SLURM_JOB_ID": "7", "PPO_MPI_JOB": "a1"}, "a1"),
        ({"PMIX_NAMESPACE": "prterun-h-1@1"}, "prterun-h-1@1"),
    ],
)
def test_the_lives_of_a_job_share_a_token(environ, token):
    assert job_token(environ) == token
