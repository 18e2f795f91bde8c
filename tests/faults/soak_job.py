"""A training job under the supervisor, and what can be seen of it from outside, for soak.py."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

from jobs import job_environment
from wheels import wheel_mpirun, wheel_python

from ppo_mpi.distributed.leftovers import SEGMENTS, SHARED_MEMORY
from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.checkpoint import Checkpoint, load_checkpoint
from ppo_mpi.storage.durable import HALF_WRITTEN
from ppo_mpi.storage.run_folder import HALF_REMOVED, UNREADABLE, checkpoints_of, is_done

RANKS = 3
HANG_TIMEOUT_SECONDS = 15
TOKEN = "PPO_MPI_SOAK"
"""Environment variable by which the job's processes are known, the supervisor among them."""
SECONDS_TO_START = 120.0
TICK_SECONDS = 0.2
STEP = "step-"
"""How the names of checkpoints begin."""


class SoakJob:
    """One run, started as often as it takes."""

    def __init__(self, folder: Path, wheel: str, game: str, words: list[str], run: str) -> None:
        """Start nothing yet.

        Args:
            folder: holds ``runs``, ``tmp`` and the logs.
            wheel: the MPI library.
            game: what the run is called in the tables.
            words: behind ``train``.
            run: its name.
        """
        self.game, self.words = game, words
        self.run_dir = folder / "runs" / run
        self.log = folder / f"{run}.log"
        self.starts = 0
        self.token = secrets.token_hex(8)
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.segments: set[Path] = set()
        """All shared memory that its processes were seen to use."""
        self._folder, self._wheel = folder, wheel

    def start(self) -> None:
        """Start the supervisor; always with the same line."""
        program = [str(wheel_python(self._wheel)), "-m", "ppo_mpi", "launch", "--ranks", str(RANKS)]
        options = ["--launcher", str(wheel_mpirun(self._wheel)), "--max-restarts", "1000"]
        train = ["train", *self.words, "--run", str(self.run_dir)]
        watch = ["--hang-timeout-seconds", str(HANG_TIMEOUT_SECONDS)]
        temporary = self._folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = job_environment() | {TOKEN: self.token, "TMPDIR": str(temporary)}
        with self.log.open("ab") as log:
            self.supervisor = subprocess.Popen(
                [*program, *options, "--", *train, *watch],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.starts += 1

    @property
    def status(self) -> int | None:
        """The supervisor's exit status; None while it runs."""
        return self.supervisor.poll() if self.supervisor else 0

    @property
    def done(self) -> bool:
        """Whether the run has reached its end and the supervisor has left."""
        return self.status == 0 and is_done(self.run_dir)

    def said(self) -> str:
        """Return all that the job has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def lives(self) -> int:
        """Return how often ranks were started."""
        return self.starts + self.said().count("; starting again from ")

    def processes(self) -> dict[int, int]:
        """Return the job's living processes: process -> its parent."""
        wanted, found = f"{TOKEN}={self.token}".encode(), {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    # The name of the program stands in brackets and may hold anything.
                    state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
                    if state not in "ZX":
                        found[int(process.name)] = int(parent)
        return found

    def orphans(self) -> set[int]:
        """Return its processes that do not descend from the supervisor."""
        parents = self.processes()
        own = {self.supervisor.pid} if self.supervisor and self.status is None else set()
        while True:
            more = {pid for pid, parent in parents.items() if parent in own} - own
            if not more:
                return set(parents) - own
            own |= more

    def orphans_that_stay(self, seconds: float = 10.0) -> set[int]:
        """Return orphans that are still there after some seconds."""
        deadline = time.monotonic() + seconds
        left = self.orphans()
        while left and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
            left &= self.orphans()
        return left

    def launcher(self) -> int | None:
        """Return the process of mpirun."""
        parents = self.processes()
        supervisor = self.supervisor.pid if self.supervisor else None
        return next((pid for pid, parent in parents.items() if parent == supervisor), None)

    def ranks(self) -> list[int]:
        """Return the processes of the ranks; [] unless all are there."""
        records = [read_record(self.run_dir / "ranks", HEARTBEAT, rank) for rank in range(RANKS)]
        pids = [int(record["pid"]) for record in records if record]
        alive = self.processes()
        return pids if len(pids) == RANKS and all(pid in alive for pid in pids) else []

    def iteration(self) -> int:
        """Return the iteration in flight, as far as the ranks have told."""
        records = [read_record(self.run_dir / "ranks", HEARTBEAT, rank) for rank in range(RANKS)]
        return max((int(record["iteration"]) for record in records if record), default=0)

    def wait_until_training(self, not_these: set[int], seconds: float = SECONDS_TO_START) -> bool:
        """Wait until ranks other than ``not_these`` train; return whether they do, or are done."""
        deadline = time.monotonic() + seconds
        first: int | None = None
        while time.monotonic() < deadline:
            if self.status is not None:
                return self.done
            pids = self.ranks()
            if pids and not_these.isdisjoint(pids):
                iteration = self.iteration()
                if first is None or iteration < first:
                    first = iteration
                if iteration > max(first, 1):
                    return True
            time.sleep(TICK_SECONDS)
        return False

    def wait_until_gone(self, pids: set[int], seconds: float) -> set[int]:
        """Wait for the end of processes; return those that are still there."""
        deadline = time.monotonic() + seconds
        while left := pids & self.processes().keys():
            if time.monotonic() > deadline:
                return left
            _ = self.status  # a supervisor that has ended is taken from the process table
            time.sleep(TICK_SECONDS)
        return set()

    def wait_for_end(self, seconds: float) -> int | None:
        """Wait until the supervisor has left; return its status, None if it has not."""
        assert self.supervisor is not None, "it was started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.supervisor.wait(seconds)
        return self.status

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint, whole; None if there is none yet.

        Raises:
            CheckpointError: it is damaged.
        """
        while True:
            paths = checkpoints_of(self.run_dir)
            if not paths:
                return None
            try:
                return load_checkpoint(paths[0])
            except CheckpointError:
                if paths[0].exists() and checkpoints_of(self.run_dir)[:1] == paths[:1]:
                    raise

    def number_of_files(self) -> int:
        """Return how many files and checkpoints the run has.

        Without what is just being written or removed, or was set aside as damaged.
        """
        passing = (HALF_WRITTEN, HALF_REMOVED, UNREADABLE)
        number = 0
        for _, folders, files in os.walk(self.run_dir):
            checkpoints = [name for name in folders if name.startswith(STEP)]
            number += len(files) + len(checkpoints)
            folders[:] = [name for name in folders if not name.startswith((STEP, *passing))]
        return number

    def temporary_files(self) -> int:
        """Return how many entries the launchers have left in the folder of temporary files."""
        return sum(1 for _ in (self._folder / "tmp").iterdir())

    def memory_mib(self, pid: int) -> float | None:
        """Return a process's resident memory; None if it is gone."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        return None

    def left_in_shared_memory(self) -> set[Path]:
        """Return shared memory of its dead processes that nobody has removed."""
        used = set()
        for pid in self.processes():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/maps").read_text(errors="replace")
                used |= {Path(line[line.index("/") :]) for line in text.splitlines() if "/" in line}
        own = {path for path in used if any(path.match(pattern) for pattern in SEGMENTS)}
        self.segments |= {path for path in own if path.is_relative_to(SHARED_MEMORY)}
        self.segments = {path for path in self.segments if path.exists()}
        return self.segments - used

    def end(self) -> None:
        """Save and end it in good order; if it does not leave, kill what is left."""
        if self.supervisor and self.status is None:
            self.supervisor.send_signal(signal.SIGTERM)
            self.wait_for_end(90)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.supervisor:
            self.supervisor.wait()
