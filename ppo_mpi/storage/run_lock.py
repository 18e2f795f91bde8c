"""One job at a time in a run's folder."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ppo_mpi.errors import ConfigError

LOCK = ".lock"
REFRESH_SECONDS = 10.0
"""How often a holder touches its file."""
WATCH_SECONDS = 3 * REFRESH_SECONDS
"""How long a holder's file on another host is watched for that."""
STALE_SECONDS = 900.0
"""Age of the file at which its holder on another host counts as gone at once."""
LEASE_SECONDS = 180.0
"""How long a file server may keep the lock of a client that died."""
SECONDS_TO_DIE = 10.0
"""How long the system may take to end an earlier life of this job on this host."""
SETTLE_SECONDS = 2.0
"""How long another one who took the lock at the same moment may take to write its name."""
POLL_SECONDS = 1.0

_HOLDER = re.compile(r"process (\d{1,10}) on (\S+?)(?: in job (\S+))?", re.ASCII)


def job_token(environ: Mapping[str, str]) -> str:
    """Return what the lives of one job have in common; empty if that is not known."""
    if "PPO_MPI_JOB" in environ:  # set by the supervisor
        return environ["PPO_MPI_JOB"]
    if "SLURM_JOB_ID" in environ:  # the same after a requeue
        return f"slurm-{environ['SLURM_JOB_ID']}.{environ.get('SLURM_STEP_ID', '')}"
    return environ.get("PMIX_NAMESPACE", "").replace(" ", "-")


class RunLock:
    """A lock on a run's folder that the system takes back when its holder ends, however it ends.

    Some file systems have no locks, or each host has its own. So the file also says who holds it,
    and its holder touches it: a process of this host that does not live any more holds nothing,
    nor does an earlier life of the same job; one of another host as long as it keeps touching.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK
        self._descriptor: int | None = None
        self._released = threading.Event()
        self._job = job_token(os.environ)

    def acquire(self, beat: Callable[[], None] = lambda: None) -> str:
        """Take the lock, if it is not held already; the folder exists.

        Args:
            beat: is called while it waits, for half a minute or, where a file server has to
                notice that an earlier life of this job is gone, for minutes.

        Returns:
            a warning, if it was left by a job that is gone; else empty.

        Raises:
            ConfigError: another process holds it; the message says which.
        """
        if self._descriptor is not None:
            return ""
        try:
            import fcntl  # noqa: F401
        except ImportError:  # not on Windows
            return ""
        try:
            # No link is followed: the file is emptied below.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o666)
        except OSError as error:
            raise ConfigError(
                f"cannot write {self._path} ({error.strerror}); choose another --checkpoint-dir "
                "or --run, or make it writable"
            ) from error
        try:
            has_locks = self._lock(descriptor, beat)
            warning = self._look_at_holder(descriptor, has_locks, beat)
            self._sign(descriptor, has_locks, beat)
        except ConfigError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._released.clear()
        threading.Thread(target=self._keep_fresh, name="run lock", daemon=True).start()
        return warning

    def release(self) -> None:
        """Give the lock back; does nothing where it is not held."""
        if self._descriptor is not None:
            self._released.set()
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)  # a full disk is no obstacle to this
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self, descriptor: int, beat: Callable[[], None]) -> bool:
        """Lock the file; return whether its file system has locks.

        Raises:
            ConfigError: another process holds it.
        """
        import fcntl

        began = time.monotonic()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                holder = _read(descriptor)
                is_here = _host_of(holder) == socket.gethostname()
                patience = SECONDS_TO_DIE if is_here else LEASE_SECONDS
                if not self._is_own(holder) or time.monotonic() - began > patience:
                    raise self._refused(holder, "") from None
                _sleep(POLL_SECONDS, beat)
            except OSError:
                return False

    def _look_at_holder(self, descriptor: int, has_locks: bool, beat: Callable[[], None]) -> str:
        """Return a warning if the file names a holder that is gone.

        Raises:
            ConfigError: it is not gone, or that cannot be told.
        """
        holder = _read(descriptor)
        if not holder:
            return ""
        match = _HOLDER.fullmatch(holder)
        left = f"warning: {self._path} was left by {holder}, which is gone"
        if match is not None and match[2] == socket.gethostname():
            if not has_locks and _lives(int(match[1])):
                raise self._refused(holder, "")
            return "" if has_locks else left
        if self._is_own(holder):
            return ""
        age = time.time() - os.fstat(descriptor).st_mtime
        if age < STALE_SECONDS and (not has_locks or self._is_touched(beat)):
            raise self._refused(holder, f"; if that job is gone, remove {self._path}")
        return left

    def _is_touched(self, beat: Callable[[], None]) -> bool:
        """Return whether the file's holder still touches it."""
        before = os.stat(self._path).st_mtime_ns
        deadline = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < deadline:
            _sleep(POLL_SECONDS, beat)
            # Opened anew: network file systems look for news then.
            with contextlib.suppress(OSError), self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_mtime_ns != before:
                    return True
        return False

    def _sign(self, descriptor: int, has_locks: bool, beat: Callable[[], None]) -> None:
        """Write who holds the lock.

        Raises:
            ConfigError: that cannot be written, or another process took it at the same moment.
        """
        name = f"process {os.getpid()} on {socket.gethostname()}"
        name += f" in job {self._job}" if self._job else ""
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, name.encode("ascii", errors="replace"), 0)
            os.utime(self._path)
        except OSError as error:
            raise ConfigError(
                f"cannot write {self._path} ({error.strerror}); make room, or choose another "
                "--checkpoint-dir"
            ) from error
        if not has_locks:
            _sleep(SETTLE_SECONDS, beat)
            if _read(descriptor) != name:
                raise self._refused(_read(descriptor), "")

    def _is_own(self, holder: str) -> bool:
        """Return whether a holder is an earlier life of this job."""
        match = _HOLDER.fullmatch(holder)
        return bool(self._job) and match is not None and match[3] == self._job

    def _refused(self, holder: str, remedy: str) -> ConfigError:
        who = holder if _HOLDER.fullmatch(holder) else "unknown process"
        return ConfigError(
            f"another job trains in {self._path.parent} ({who}); wait for it, or use another "
            f"--run{remedy}"
        )

    def _keep_fresh(self) -> None:
        while not self._released.wait(REFRESH_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode("ascii", errors="replace").strip()


def _host_of(holder: str) -> str:
    match = _HOLDER.fullmatch(holder)
    return match[2] if match else ""


def _sleep(seconds: float, beat: Callable[[], None]) -> None:
    beat()
    time.sleep(seconds)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, but another user's
        return True
    return process != os.getpid()
