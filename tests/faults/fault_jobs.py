"""What the tests of faults share: faulty jobs, what is left of them, and how fast they are gone."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

from faulty import MARK
from jobs import allowed, job_command, start_command
from runs import JOBS

from ppo_mpi.distributed.launchers import patient
from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import checkpoints_of

FAULTY = str(Path(__file__).with_name("faulty.py"))
TOKEN = "PPO_MPI_TEST"
RUN = ["--run", "r", "--checkpoint-every", "2"]
ITERATION = 512
ENDLESS = [*JOBS["CartPole"], *RUN, "--total-timesteps", str(ITERATION * 100_000)]
SECONDS_TO_START = 120.0


class FaultyJob:
    """A job with or without a fault, known by a token in the environment of its processes."""

    def __init__(
        self,
        folder: Path,
        wheel: str,
        num_ranks: int,
        *words: str,
        fault: str = "",
        is_patient: bool = False,
    ) -> None:
        """Start it.

        Args:
            folder: where it works; its run is ``checkpoints/r``.
            wheel: the MPI library.
            num_ranks: 0 = no launcher.
            words: behind ``ppo_mpi``.
            fault: ``FAULT PLACE RANK NTH`` for faulty.py; empty for none.
            is_patient: whether the ranks ignore signals until they have handlers, as in the
                launch scripts.
        """
        self.folder = folder
        self.run_dir = folder / "checkpoints" / "r"
        self.num_ranks = max(1, num_ranks)
        self.token = secrets.token_hex(8)
        program = [FAULTY, *fault.split(), "--", *words] if fault else ["-m", "ppo_mpi", *words]
        (folder / MARK).unlink(missing_ok=True)
        command = job_command(num_ranks, program, wheel)
        if is_patient:
            command = [*command[:3], *patient(command[3:])]  # behind mpirun -np N
        self.process = start_command(command, folder, **{TOKEN: self.token})

    def pids(self) -> list[int]:
        """Return all living processes of the job."""
        wanted = f"{TOKEN}={self.token}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def rank_pid(self, rank: int) -> int:
        """Return a rank's process, once it has written a heartbeat in this life of the run."""

        def pid() -> int:
            record = read_record(self.run_dir / "ranks", HEARTBEAT, rank) or {}
            return int(record.get("pid", 0))

        self.wait_for(lambda: pid() in self.pids())
        return pid()

    def wait_for(self, is_so, seconds: float = SECONDS_TO_START) -> None:
        """Wait until something is so, while the job runs."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the job does not get anywhere"
            time.sleep(0.02)

    def wait_for_iteration(self, number: int) -> None:
        """Wait until that many iterations are logged."""
        curves = self.run_dir / "progress.csv"
        self.wait_for(lambda: curves.exists() and curves.read_text().count("\n") > number)

    def wait_for_mark(self) -> float:
        """Return the time at which the fault happened."""
        deadline = time.monotonic() + SECONDS_TO_START
        while not ((self.folder / MARK).exists() and (self.folder / MARK).read_text()):
            assert time.monotonic() < deadline, "the fault did not happen"
            time.sleep(0.01)
        return float((self.folder / MARK).read_text())

    def ended(self, since: float, within_seconds: float) -> tuple[int, str]:
        """Wait for the end of the whole job; return its status and all that it printed.

        Args:
            since: ``time.time()`` of the fault.
            within_seconds: how long everything may take from there, if one test runs at a time.
        """
        within_seconds = allowed(within_seconds)
        left = since + within_seconds - time.time()
        try:
            output, errors = self.process.communicate(timeout=max(0.1, left))
        except subprocess.TimeoutExpired:
            left_over = self.pids()
            for pid in left_over:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"{left_over} are still there") from None
        while self.pids():
            assert time.time() < since + within_seconds + 1, self.pids()
            time.sleep(0.05)
        return self.process.returncode, output + errors

    def check_disk(self) -> None:
        """Every checkpoint that is there is whole."""
        for path in checkpoints_of(self.run_dir):
            load_checkpoint(path)
