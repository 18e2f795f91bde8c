"""One job at a time in a run's folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ppo_mpi.errors import ConfigError

LOCK = ".lock"


class RunLock:
    """A lock on a run's folder that the system takes back when its holder ends, however it ends.

    Where the file system has no locks there is no protection; training goes on all the same.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, if it is not held already; the folder exists.

        Raises:
            ConfigError: another process holds it; the message says which.
        """
        if self._descriptor is not None:
            return
        try:
            import fcntl
        except ImportError:  # not on Windows
            return
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ConfigError(
                f"cannot write {self._path} ({error.strerror}); choose another --checkpoint-dir "
                "or --run, or make it writable"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            raise ConfigError(
                f"another job trains in {self._path.parent} ({holder or 'unknown process'}); "
                "wait for it, or use another --run"
            ) from None
        except OSError:
            os.close(descriptor)
            return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; does nothing where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
