"""One worker process as its rank sees it: starts it, asks it, and says how it ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.watchdog import DUMP_SIGNAL
from ppo_mpi.envs import worker_process
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.shared_arrays import Layout
from ppo_mpi.errors import FailedEnvironmentError

SECONDS_TO_LEAVE = 5.0
"""How long a worker may take to close its environments."""
LOOK_MILLISECONDS = 1000
"""How often a worker that does not answer is looked at."""
OF_LAUNCHERS = ("OMPI_", "PMI_", "PMIX_", "PRTE_", "MV2_", "PALS_", "HYDI_", "HYDRA_", "I_MPI_",
                "MPI_LOCAL")  # fmt: skip
"""Variables by which a library in a worker would take itself for a rank of the job."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
DOING = {"make": "made its environments", "step": "took a step", "reset": "began episodes"}

Make = Callable[[Sequence[int]], VecEnvs]
"""Makes the environments with these whole-job indices."""


class WorkerTracebackError(Exception):
    """Where in a worker process an exception came from; the cause of the same one here."""

    def __str__(self) -> str:
        """Return the worker's own traceback."""
        return f"in a worker process\n{self.args[0]}"


class Worker:
    """A process with a contiguous block of a rank's environments."""

    def __init__(
        self, make: Make, indices: Sequence[int], number: int, memory: int, heart: Heart | None
    ) -> None:
        """Start the process; ``made`` waits for its environments.

        Args:
            make: is sent to it.
            indices: of its environments, at least one.
            number: of the worker, from 0.
            memory: descriptor of the memory that it will share.
            heart: of this rank; is told whom the rank waits for.
        """
        import cloudpickle

        self.number, self.indices = number, tuple(indices)
        self._heart, self._verb, self.ended = heart, "make", False
        own, its = socket.socketpair()
        with own, its:
            self._process = start(its.fileno(), memory)
            self._connection = Connection(own.detach())
        self._poller = select.poll()
        self._poller.register(self._connection.fileno(), select.POLLIN)
        words = cloudpickle.dumps((make, self.indices))
        with contextlib.suppress(ConnectionError):  # how it ended is said when it is waited for
            self._connection.send_bytes(words)

    def __str__(self) -> str:
        """Return which worker it is, in words."""
        first, last = self.indices[0], self.indices[-1]
        which = f"environment {first}" if first == last else f"environments {first} to {last}"
        return f"worker {self.number} with {which} (process {self._process.pid})"

    def share(self, layout: Layout, slots: slice) -> None:
        """Tell it which part of the memory is its own; it answers as to ``ask``."""
        self._verb = "start"
        self._send((layout, slots, self.number))

    def ask(self, verb: str, arguments: Sequence[Any] = ()) -> None:
        """Let it begin with a method of its environments; ``answer`` waits for it."""
        self._verb = verb
        self._send((verb, arguments))

    def answer(self) -> Any:
        """Wait until it has done what it was asked, and return its answer.

        Raises:
            FailedEnvironmentError: the process has ended.
            Exception: whatever its environments raised.
        """
        if self._heart is not None:
            self._heart.worker = (str(self), self._process.pid)
        try:
            while not self._poller.poll(LOOK_MILLISECONDS):
                # A process of its own may keep the connection of a worker that has ended.
                if self._process.poll() is not None and not self._poller.poll(0):
                    raise EOFError
            done, answer, text = self._connection.recv()
        except (EOFError, ConnectionError):
            raise self._lost() from None
        finally:
            if self._heart is not None:
                self._heart.worker = None
        if not done:
            raise answer from WorkerTracebackError(text)
        return answer

    def leave(self) -> None:
        """Ask the process to close its environments and end; ``close`` waits for that."""
        with contextlib.suppress(OSError):  # it has ended already
            self._connection.send(("close", ()))

    def close(self) -> None:
        """Wait until the process has ended, and end it if it does not."""
        try:
            self._process.wait(SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection.close()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except ConnectionError:
            raise self._lost() from None

    def _lost(self) -> FailedEnvironmentError:
        """Return what to say of a process that is gone."""
        try:
            status = self._process.wait(SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return FailedEnvironmentError(f"{self} closed its connection; {REMEDY}")
        how = f"ended with status {status}"
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        if status == -signal.SIGKILL:
            how += " (if nobody did that, the machine has too little memory: use fewer env_workers)"
        doing = DOING.get(self._verb, f"was in {self._verb}()")
        return FailedEnvironmentError(f"{self} {how} while it {doing}; {REMEDY}")


REMEDY = (
    "its environments are lost with it; start the same command again: the run goes on from its "
    "last checkpoint"
)


def start(connection: int, memory: int) -> subprocess.Popen[bytes]:
    """Start a worker process with these two descriptors."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (connection, memory, os.getpid(), int(is_main), DUMP_SIGNAL)
    # What comes before the process ignores signals waits until it does.
    numbers_held = [getattr(signal, name) for name in worker_process.IGNORED]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers_held)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", worker_process.__name__, *map(str, numbers)],
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            pass_fds=(connection, memory),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's variables: no launcher's, one thread, and the modules found here."""
    kept = {name: text for name, text in environ.items() if not name.startswith(OF_LAUNCHERS)}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return kept | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path}
