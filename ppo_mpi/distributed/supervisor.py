"""A process above the launcher: hands signals on, starts the job again after a failure.

It holds neither torch nor MPI, so that nothing that ends a rank ends it too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ppo_mpi.distributed.records import FAILURE, HEARTBEAT, read_record
from ppo_mpi.distributed.signals import GRACEFUL

TOKEN = "PPO_MPI_JOB"
"""Environment variable by which the processes of a job are known, whoever started them."""
TICK_SECONDS = 0.05
SECONDS_TO_END = 5.0
"""How long the launcher may take to end its ranks before all are killed."""
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Life:
    """One run of the job, from its start to its end."""

    status: int
    """The launcher's exit status; negative if a signal ended it."""
    stopped: bool
    """Whether the supervisor was told to stop it."""


class Supervisor:
    """Runs commands one after the other, with the signals of this process turned into one."""

    def __init__(self, grace_seconds: float) -> None:
        """Take nothing over yet.

        Args:
            grace_seconds: how long a job that was told to stop may take to save and leave.
        """
        self._grace = grace_seconds
        self._signals: list[int] = []
        self.token = secrets.token_hex(8)

    @property
    def told_to_stop(self) -> bool:
        """Whether a signal came."""
        return bool(self._signals)

    def take_signals(self) -> None:
        """Let signals to this process end the job in good order instead of this process."""
        for name in (*GRACEFUL, "SIGHUP"):
            signal.signal(getattr(signal, name), self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
        if len(self._signals) == 1:
            os.write(2, b"\nsaving; once more ends it at once\n")

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> Life:
        """Start the launcher and wait for its end; leave none of its processes behind."""
        job = subprocess.Popen(
            command,
            env={**os.environ, **environment, TOKEN: self.token},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_before_exec,
        )
        try:
            self._wait(job)
        finally:
            if job.poll() is None:
                _signal_group(job.pid, signal.SIGKILL)
                job.wait()
            end_processes(self.token)
        return Life(job.returncode, self.told_to_stop)

    def _wait(self, job: subprocess.Popen[bytes]) -> None:
        handed_on_at: float | None = None
        terminated_at: float | None = None
        while job.poll() is None:
            now = time.monotonic()
            if self._signals and handed_on_at is None:
                # Open MPI's launcher kills its ranks a quarter of a second after SIGTERM; of
                # SIGUSR1 all launchers hand on and wait.
                job.send_signal(signal.SIGUSR1)
                handed_on_at = now
            if self._signals[1:]:
                return  # the caller kills
            is_late = handed_on_at is not None and now - handed_on_at > self._grace
            if is_late and terminated_at is None:
                job.send_signal(signal.SIGTERM)
                terminated_at = now
            if terminated_at is not None and now - terminated_at > SECONDS_TO_END:
                return
            time.sleep(TICK_SECONDS)

    def sleep(self, seconds: float) -> None:
        """Wait, unless a signal comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.told_to_stop:
            time.sleep(TICK_SECONDS)


def _before_exec() -> None:
    """Prepare the launcher's process, in the child."""
    # A signal that comes before a rank's Python has its handlers would end that rank alone. What
    # is ignored stays so through exec, until somebody sets a handler.
    for name in GRACEFUL:
        if name not in ("SIGTERM", "SIGINT"):  # these end a launcher that hangs
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform.startswith("linux"):
        # If the supervisor is killed, the job saves and leaves instead of going on unwatched.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def processes_of(token: str) -> list[int]:
    """Return the living processes of this node that carry the job's token; [] without /proc."""
    wanted = f"{TOKEN}={token}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return [pid for pid in found if pid != os.getpid()]


def end_processes(token: str) -> list[int]:
    """Kill what is left of a job on this node, stopped ranks for example; return what it was."""
    left = processes_of(token)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left


@dataclass(frozen=True)
class Failure:
    """What is known of the end of a life that failed."""

    text: str
    """For the user: who failed, where and with what."""
    iteration: int
    """The iteration in flight; 0 if that is not known."""
    error: str
    """The error of the rank that failed first; empty if it left none."""

    def is_like(self, other: Failure | None) -> bool:
        """Return whether the same thing happened at the same place: then it will happen again."""
        if other is None or not self.error or not other.error:
            return False
        return (self.iteration, _plain(self.error)) == (other.iteration, _plain(other.error))


def _plain(error: str) -> str:
    """Return an error without what changes from life to life: addresses, process and other ids."""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", error)


def what_failed(records: Path, ranks: int, status: int) -> Failure:
    """Find out from what the ranks have written how a life ended.

    Args:
        records: the run's folder of records.
        ranks: how many there were.
        status: the launcher's.
    """
    failures = _read_all(records, FAILURE, ranks)
    if failures:
        first = min(failures, key=lambda record: record.get("time", 0.0))
        iteration, error = int(first.get("iteration") or 0), str(first.get("error", ""))
        where = f"rank {first['rank']} on {first.get('host')} failed"
        during = f" ({first.get('phase')} in iteration {iteration})" if iteration else ""
        return Failure(
            f"{where}{during}: {error.splitlines()[-1] if error else ''}", iteration, error
        )
    heartbeats = _read_all(records, HEARTBEAT, ranks)
    iteration = max((int(r.get("iteration") or 0) for r in heartbeats), default=0)
    where = f" in iteration {iteration}" if iteration else " before the first iteration"
    return Failure(f"a rank was lost{where} (the launcher left with {status})", iteration, "")


def _read_all(records: Path, kind: str, ranks: int) -> list[dict[str, Any]]:
    found = (read_record(records, kind, rank) for rank in range(ranks))
    return [record for record in found if record is not None]


def answering(hosts: dict[str, int], check: Callable[[str], bool]) -> dict[str, int]:
    """Return the hosts that answer."""
    return {host: slots for host, slots in hosts.items() if check(host)}
