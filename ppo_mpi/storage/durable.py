"""Writing so that a crash leaves the old or the new, and so that all ranks hear of a failure."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ppo_mpi.errors import CheckpointError, ConfigError, StorageError

if TYPE_CHECKING:
    from ppo_mpi.distributed.communicator import Communicator

T = TypeVar("T")

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
HALF_WRITTEN = ".tmp-"
"""How the names of files and folders begin that are not whole yet."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a crash leaves the old content or the new, never a mixture."""
    half_written = path.with_name(f"{HALF_WRITTEN}{path.name}-{os.getpid()}")
    try:
        write_durably(half_written, content)
        os.rename(half_written, path)
    except BaseException:
        half_written.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def explained(what: str, folder: Path) -> Iterator[None]:
    """Turn an error of the file system, within, into one that says what the user can do.

    Args:
        what: what could not be done, for example ``save the tags``.
        folder: where; the message names it.

    Raises:
        StorageError: in place of an OSError.
        CheckpointError: in place of one that trying again does not mend.
    """
    try:
        yield
    except OSError as error:
        kind = CheckpointError if error.errno in FORBIDDEN else StorageError
        raise kind(
            f"cannot {what} in {folder} ({error.strerror or error}); make room or make the folder "
            "writable, then start the same command again: the run goes on from its last checkpoint"
        ) from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the folder's names are on the disk; renames are durable only after that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def on_root(comm: Communicator, action: Callable[[], T]) -> T:
    """Do something on rank 0 alone and return its result on every rank. Collective.

    Raises:
        ConfigError: (or CheckpointError) rank 0 raised it; every rank raises the same.
        RuntimeError: on the other ranks, whatever else rank 0 raised, which it raises itself.
    """
    result: T | None = None
    failure: BaseException | None = None
    if comm.is_root:
        try:
            result = action()
        except BaseException as error:  # whatever it is, the other ranks wait to be told
            failure = error
    told = None
    if failure is not None:
        kind = type(failure) if isinstance(failure, ConfigError) else RuntimeError
        told = kind(f"rank 0 failed: {failure!r}" if kind is RuntimeError else str(failure))
    told, shared = comm.broadcast_object((told, result))  # collective
    if failure is not None:
        raise failure
    if told is not None:
        raise told
    return shared
