"""One job at a time in a run's folder."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from pathlib import Path

from ppo_mpi.errors import ConfigError

LOCK = ".lock"
REFRESH_SECONDS = 60.0
"""How often a holder touches its file where the file system has no locks."""
STALE_SECONDS = 900.0
"""Age of the file at which its holder on another host counts as gone there."""

_HOLDER = re.compile(r"process (\d{1,10}) on (\S+)", re.ASCII)


class RunLock:
    """A lock on a run's folder that the system takes back when its holder ends, however it ends.

    Where the file system has no locks, what the file says counts instead: a process of this host
    that does not live any more holds nothing; one of another host holds the folder as long as it
    keeps touching the file.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK
        self._descriptor: int | None = None
        self._released = threading.Event()

    def acquire(self) -> str:
        """Take the lock, if it is not held already; the folder exists.

        Returns:
            a warning, if it was left by a job that is gone; else empty.

        Raises:
            ConfigError: another process holds it; the message says which.
        """
        if self._descriptor is not None:
            return ""
        try:
            import fcntl
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
        warning = ""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(descriptor)
            os.close(descriptor)
            raise ConfigError(
                f"another job trains in {self._path.parent} ({holder or 'unknown process'}); "
                "wait for it, or use another --run"
            ) from None
        except OSError:
            try:
                warning = self._take_over(descriptor)
            except ConfigError:
                os.close(descriptor)
                raise
        try:
            _write(descriptor, f"process {os.getpid()} on {socket.gethostname()}")
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(
                f"cannot write {self._path} ({error.strerror}); make room, or choose another "
                "--checkpoint-dir"
            ) from error
        self._descriptor = descriptor
        return warning

    def release(self) -> None:
        """Give the lock back; does nothing where it is not held."""
        if self._descriptor is not None:
            self._released.set()
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)  # a full disk is no obstacle to this
            os.close(self._descriptor)
            self._descriptor = None

    def _take_over(self, descriptor: int) -> str:
        """Take a lock that the file system does not know of, if its holder is gone.

        Returns:
            a warning if there was a holder.

        Raises:
            ConfigError: there is one, or it cannot be told.
        """
        holder = _read(descriptor)
        match = _HOLDER.fullmatch(holder)
        if holder and match is None:
            holder = "unknown process"
        if match is not None and match[2] == socket.gethostname():
            is_gone = not _lives(int(match[1]))
        else:
            is_gone = time.time() - os.fstat(descriptor).st_mtime > STALE_SECONDS
        if holder and not is_gone:
            raise ConfigError(
                f"another job trains in {self._path.parent} ({holder}); wait for it, or use "
                f"another --run; if that job is gone, remove {self._path} (this file system has "
                "no locks that would tell)"
            )
        self._released.clear()
        threading.Thread(target=self._keep_fresh, name="run lock", daemon=True).start()
        return f"warning: {self._path} was left by {holder}, which is gone" if holder else ""

    def _keep_fresh(self) -> None:
        while not self._released.wait(REFRESH_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode("ascii", errors="replace").strip()


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode("ascii", errors="replace"), 0)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, but another user's
        return True
    return process != os.getpid()
