"""Shared memory and small files that killed jobs left on this node.

An MPI library removes its shared memory when its ranks end in good order. A rank that is killed
leaves megabytes in memory, and a hundred restarts would fill the node.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
SEGMENTS = ("mpich_shm_*", "sm_segment.*", "vader_segment.*")
"""Shared memory of MPICH, and of Open MPI 5 and 4."""

# Small files of a launcher; who needs them cannot be seen, so they stay while one of these runs.
SESSIONS = {
    "hydra_hwloc_xmlfile_*": ("mpiexec.hydra", "mpiexec", "mpirun", "hydra_pmi_proxy"),
    "ompi.*": ("mpirun", "prterun", "prte", "prted", "orted"),
    "prte.*": ("mpirun", "prterun", "prte", "prted", "orted"),
}
LEAST_AGE_SECONDS = 2.0
"""A file that was made just now may belong to a job that is just starting."""


def clean_leftovers(
    shared_memory: Path = SHARED_MEMORY, temporary: Path | None = None
) -> list[Path]:
    """Remove what dead jobs of this user left on this node; return what was removed.

    Nothing is touched that a living process has open or mapped, or that is another user's. Does
    nothing where there is no /proc.

    Args:
        shared_memory: where shared memory shows as files.
        temporary: folder of the launchers' files; None for the system's.
    """
    # Files are listed before processes: who uses one of them is then among the processes.
    segments = list(_own_files(shared_memory, SEGMENTS))
    places = list(_own_files(temporary or Path(tempfile.gettempdir()), SESSIONS))
    if not (segments or places) or not Path("/proc/self/maps").exists():
        return []
    used = files_in_use(shared_memory) if segments else set()
    removed = [path for path in segments if str(path) not in used and _remove(path)]
    running = running_programs() if places else set()
    for path in places:
        launchers = next(words for name, words in SESSIONS.items() if path.match(name))
        if running.isdisjoint(launchers) and _remove(path):
            removed.append(path)
    return removed


def _own_files(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    now = time.time()
    for pattern in patterns:
        for path in folder.glob(pattern):
            try:
                status = path.lstat()
            except OSError:  # gone meanwhile
                continue
            if status.st_uid == os.getuid() and now - status.st_mtime > LEAST_AGE_SECONDS:
                yield path


def _remove(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:  # gone meanwhile, or no longer ours to remove
        return False
    return True


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def files_in_use(folder: Path) -> set[str]:
    """Return the files below ``folder`` that a process we may look into has open or mapped."""
    prefix, found = f"{folder}/", set()
    for process in _processes():
        # A file is mapped before it is closed: looked at in this order, it is seen at least once.
        try:
            links = list((process / "fd").iterdir())
        except OSError:  # ended meanwhile, or another user's
            continue
        for link in links:
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(link))
        try:
            maps = (process / "maps").read_text(errors="replace")
        except OSError:
            continue
        found |= {line[line.index(prefix) :] for line in maps.splitlines() if prefix in line}
    return {name for name in found if name.startswith(prefix)}


def running_programs() -> set[str]:
    """Return the names of all running programs, as the kernel shortens them."""
    names = set()
    for process in _processes():
        try:
            names.add((process / "comm").read_text().strip())
        except OSError:
            continue
    return names
