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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ppo_mpi.distributed.records import FAILURE, HEARTBEAT, read_record
from ppo_mpi.distributed.signals import GRACEFUL, STOP

TOKEN = "PPO_MPI_JOB"
"""Environment variable by which the processes of a job are known, whoever started them."""
TICK_SECONDS = 0.05
SECONDS_TO_END = 5.0
"""How long the launcher may take to end its ranks before all are killed."""
SECONDS_AT_ONCE = 1.0
"""The same, where the user does not want to wait."""
SECONDS_BETWEEN_SIGNALS = 2.0
SECONDS_TO_LEAVE = 60.0
"""How long a job may go on after its run is done; Open MPI waits for ever for a stopped rank."""
SECONDS_BETWEEN_LOOKS = 1.0
MOST_CHECKS_AT_ONCE = 32
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

    def __init__(self, grace_seconds: float, leave_seconds: float = SECONDS_TO_LEAVE) -> None:
        """Take nothing over yet.

        Args:
            grace_seconds: how long a job that was told to stop may take to save and leave.
            leave_seconds: how long a job may take to leave when its work is done.
        """
        self._grace = grace_seconds
        self._leave = leave_seconds
        self._signals: list[int] = []
        self.token = secrets.token_hex(8)

    def beside(self) -> Supervisor:
        """Return a supervisor for a job at the same time: the same signals end both."""
        other = Supervisor(self._grace, self._leave)
        other._signals = self._signals
        return other

    @property
    def _at_once(self) -> bool:
        """Whether the user does not want to wait."""
        # Only Ctrl-C is impatient: schedulers and closed terminals send several signals in a row.
        return signal.SIGINT in self._signals[1:]

    @property
    def told_to_stop(self) -> bool:
        """Whether a signal came."""
        return bool(self._signals)

    def take_signals(self) -> None:
        """Let signals to this process end the job in good order instead of this process."""
        for name in (*GRACEFUL, "SIGHUP"):
            # What nohup has asked for stays.
            if name != "SIGHUP" or signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                signal.signal(getattr(signal, name), self._remember)
        if STOP.signal_name:  # it came while this process was starting
            self._remember(getattr(signal, STOP.signal_name), None)

    def stop(self) -> None:
        """Let the jobs, those beside it as well, save and leave as a signal would."""
        self._signals.append(signal.SIGUSR1)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
        if len(self._signals) == 1:
            with contextlib.suppress(OSError):  # after SIGHUP the terminal is gone
                os.write(2, b"\nsaving; Ctrl-C from now on ends it at once\n")

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        is_finished: Callable[[], bool] = lambda: False,
        is_enough: Callable[[], bool] = lambda: False,
        output: Path | None = None,
    ) -> Life:
        """Start the launcher and wait for its end; leave none of its processes behind.

        Args:
            command: the launcher's.
            environment: is added to this process's.
            is_finished: whether the job's work is done, so that it has nothing more to do.
            is_enough: whether the job is to save and leave for now.
            output: file to which it appends what it prints; None = where this process prints.
        """
        with open(output, "ab") if output else contextlib.nullcontext() as file:
            job = subprocess.Popen(
                command,
                env={**os.environ, **environment, TOKEN: self.token},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT if file else None,
                start_new_session=True,
                preexec_fn=_before_exec,
            )
        try:
            self._wait(job, is_finished, is_enough)
        finally:
            if job.poll() is None:
                _signal_group(job.pid, signal.SIGKILL)
                job.wait()
            end_processes(self.token)
        return Life(job.returncode, self.told_to_stop)

    def _wait(
        self,
        job: subprocess.Popen[bytes],
        is_finished: Callable[[], bool],
        is_enough: Callable[[], bool],
    ) -> None:
        """Return when the job has ended, or has to be killed."""
        enough = False
        told_at: float | None = None
        finished_at: float | None = None
        looked_at = tell_at = 0.0
        while job.poll() is None:
            now = time.monotonic()
            if self._at_once:
                return self._terminate(job, SECONDS_AT_ONCE)
            if (enough or self.told_to_stop) and now >= tell_at:
                # Open MPI's launcher kills its ranks a quarter of a second after SIGTERM; SIGUSR1
                # all launchers hand on. Again and again: one that is just starting ignores it.
                job.send_signal(signal.SIGUSR1)
                told_at = now if told_at is None else told_at
                tell_at = now + SECONDS_BETWEEN_SIGNALS
            if told_at is not None and now - told_at > self._grace:
                return self._terminate(job, SECONDS_TO_END)
            if now - looked_at > SECONDS_BETWEEN_LOOKS:
                looked_at = now
                finished_at = (finished_at or now) if is_finished() else None
                enough = enough or is_enough()
            if finished_at is not None and now - finished_at > self._leave:
                return self._terminate(job, SECONDS_TO_END)
            time.sleep(TICK_SECONDS)
        return None

    def _terminate(self, job: subprocess.Popen[bytes], seconds: float) -> None:
        """Let the launcher end its ranks, on other hosts as well, before all is killed."""
        job.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(seconds)

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


def end_processes(token: str, seconds: float = SECONDS_TO_END) -> list[int]:
    """Kill what is left of a job on this node, stopped ranks for example; return what it was.

    Args:
        token: the job's.
        seconds: how long to wait until all are gone, with their memory and their locks.
    """
    ended: list[int] = []
    deadline = time.monotonic() + seconds
    while (left := processes_of(token)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended += [pid for pid in left if pid not in ended]
        time.sleep(TICK_SECONDS)
    return ended


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
    return Failure(f"a rank was lost{where} ({_how_it_left(status)})", iteration, "")


def _how_it_left(status: int) -> str:
    """Return what a launcher's exit status says; the shell's way to tell of signals included."""
    if status < 0:
        return f"the launcher was ended by {_signal_name(-status)}"
    name = _signal_name(status - 128) if status > 128 else ""
    return f"the launcher left with {status}" + (f", {name}" if name else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _read_all(records: Path, kind: str, ranks: int) -> list[dict[str, Any]]:
    found = (read_record(records, kind, rank) for rank in range(ranks))
    return [record for record in found if record is not None]


def answering(hosts: dict[str, int], check: Callable[[str], bool]) -> dict[str, int]:
    """Return the hosts that answer. Many are asked at once: each that is lost takes its time."""
    if not hosts:
        return {}
    with ThreadPoolExecutor(min(len(hosts), MOST_CHECKS_AT_ONCE)) as pool:
        answers = list(pool.map(check, hosts))
    return {host: hosts[host] for host, answer in zip(hosts, answers, strict=True) if answer}
