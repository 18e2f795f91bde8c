"""Where the run's real terminal is, and how large.

Under a launcher ``isatty`` is wrong: MPICH hands its ranks pipes even at a terminal, and Open MPI
hands them terminals of its own even if the output goes to a file. What counts is where the
launcher itself writes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_LAUNCHERS = frozenset(
    (
        "mpirun", "mpiexec", "mpiexec.hydra", "mpiexec.gforker", "orterun", "prterun", "srun",
        "hydra_pmi_proxy", "orted", "prted", "prte",
    )
)  # fmt: skip
_TERMINALS = ("/dev/pts/", "/dev/tty")
_PROC = Path("/proc")


def terminal_size() -> tuple[int, int] | None:
    """Return (columns, rows) of the terminal that shows this process's output, else None.

    None as well where it cannot be known (no /proc), under Slurm (whose output usually goes to
    a file by way of another host), and if standard output was redirected on the way.
    """
    if "SLURM_JOB_ID" in os.environ or os.environ.get("TERM") == "dumb":
        return None
    if sys.stdout is not sys.__stdout__:
        return None
    try:
        ancestors = _ancestors()
        launchers = [i for i, pid in enumerate(ancestors) if _name(pid) in _LAUNCHERS]
        ours = _output(os.getpid())
        if not launchers:
            return _size(ours)
        # A launcher hands out pipes, sockets or terminals; anything else was put there behind it,
        # and so was an output that differs from the one of the process that the launcher started.
        if not ours.startswith(("pipe:", "socket:", *_TERMINALS)):
            return None
        if _output(ancestors[launchers[0] - 1]) != ours:
            return None
        return _size(_output(ancestors[launchers[-1]]))
    except OSError:
        return None


def _ancestors() -> list[int]:
    """Return this process and its ancestors below init, nearest first."""
    chain, pid = [], os.getpid()
    while pid > 1:
        chain.append(pid)
        # The name in parentheses may hold blanks and parentheses; the parent is the 2nd after it.
        pid = int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return chain


def _name(pid: int) -> str:
    return (_PROC / str(pid) / "comm").read_text().strip()


def _output(pid: int) -> str:
    return os.readlink(_PROC / str(pid) / "fd" / "1")


def _size(device: str) -> tuple[int, int] | None:
    if not device.startswith(_TERMINALS):
        return None
    descriptor = os.open(device, os.O_RDONLY | os.O_NOCTTY)
    try:
        columns, rows = os.get_terminal_size(descriptor)
    finally:
        os.close(descriptor)
    return columns or 80, rows or 24
