"""Starts whole jobs for tests: ``python -m ppo_mpi ...`` on one rank or several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from on_ranks import LAUNCHER_SETTINGS, find_mpirun
from warm_start import is_warm, warm_words
from wheels import wheel_mpirun, wheel_python

from ppo_mpi.distributed.guard import LAUNCHER_VARIABLES

TIMEOUT_SECONDS = 240
REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE = 4
"""How much longer everything may take where several tests run at the same time."""


def allowed(seconds: float) -> float:
    """Return how long something that takes no more than ``seconds`` may take here.

    pytest-xdist's workers share the cores, so that a limit says less there; ``make test-faults``
    runs one test at a time and holds every job to what is promised.
    """
    return seconds * (PATIENCE if "PYTEST_XDIST_WORKER" in os.environ else 1)


def job_command(num_ranks: int, words: list[str], wheel: str = "") -> list[str]:
    """Return the command that runs Python with ``words`` on that many ranks.

    Args:
        num_ranks: 0 = no launcher.
        words: behind Python's name.
        wheel: the MPI library; empty takes that of the Python that runs the tests.
    """
    if wheel and num_ranks:
        return [str(wheel_mpirun(wheel)), "-np", str(num_ranks), str(wheel_python(wheel)), *words]
    if num_ranks == 0:
        return [sys.executable, *words]
    mpirun = find_mpirun()
    if mpirun is None:
        pytest.skip("needs an MPI launcher: pip install mpich")
    return [mpirun, "-np", str(num_ranks), sys.executable, *words]


def job_environment() -> dict[str, str]:
    """Return an environment as if no launcher had started this process."""
    of_launchers = {name for pair in LAUNCHER_VARIABLES.values() for name in pair}
    environ = {k: v for k, v in os.environ.items() if k not in of_launchers}
    path = os.pathsep.join([str(REPOSITORY), environ.get("PYTHONPATH", "")])
    return environ | LAUNCHER_SETTINGS | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}


_STARTED: list[subprocess.Popen[str]] = []


def start_job(num_ranks: int, *words: str, cwd: Path, wheel: str = "") -> subprocess.Popen[str]:
    """Start ``python -m ppo_mpi words`` on that many ranks (0 = no launcher).

    It is ended behind the test at the latest.
    """
    return start_command(job_command(num_ranks, ["-m", "ppo_mpi", *words], wheel), cwd)


def start_command(command: list[str], cwd: Path, **environ: str) -> subprocess.Popen[str]:
    """Start a command; it is ended behind the test at the latest."""
    job = subprocess.Popen(
        command,
        cwd=cwd,
        env=job_environment() | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _STARTED.append(job)
    return job


def end_started_jobs() -> None:
    """End the jobs that a failed test has left running; mpirun takes its ranks along."""
    while _STARTED:
        job = _STARTED.pop()
        if job.poll() is None:
            job.terminate()
            try:
                job.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                job.kill()
                job.communicate()


def run_job(
    num_ranks: int, *words: str, cwd: Path, status: int = 0, wheel: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ppo_mpi words`` to its end; it must leave with ``status``.

    Its ranks are forked from processes that have imported torch already, see ``warm_start``.
    """
    program = ["-m", "ppo_mpi", *words]
    if wheel:
        return run_python(num_ranks, program, cwd=cwd, status=status, wheel=wheel)
    return run_forked(num_ranks, program, cwd=cwd, status=status)


def run_forked(
    num_ranks: int, words: list[str], cwd: Path, status: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Do what ``run_python`` does, in processes that have imported torch already."""
    if is_warm():
        words = warm_words(num_ranks, words, job_environment())
    return run_python(num_ranks, words, cwd=cwd, status=status)


def run_python(
    num_ranks: int, words: list[str], cwd: Path, status: int | None = 0, wheel: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Python with ``words`` on that many ranks; with a ``status``, it must leave with it."""
    done = subprocess.run(
        job_command(num_ranks, words, wheel),
        cwd=cwd,
        env=job_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    report = f"{words} on {num_ranks} ranks left with {done.returncode}:\n"
    report += done.stdout[-3000:] + done.stderr[-3000:]
    assert status is None or done.returncode == status, report
    return done
