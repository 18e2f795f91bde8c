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
_HANDED_OUT = ("pipe:", "socket:", *_TERMINALS)
"""What a launcher gives its ranks as an output."""
_PROC = Path("/proc")


def terminal_size(under_slurm: bool = False) -> tuple[int, int] | None:
    """Return (columns, rows) of the terminal that shows this process's output, else None.

    None as well where it cannot be known (no /proc), if standard output was redirected on the
    way, at terminals whose cursor cannot be moved, and under Slurm, whose output usually goes to
    a file by way of another host.

    Args:
        under_slurm: whether to look there too.
    """
    if "SLURM_JOB_ID" in os.environ and not under_slurm:
        return None
    if os.environ.get("TERM") == "dumb":
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
        if not ours.startswith(_HANDED_OUT):
            return None
        if _output(ancestors[launchers[0] - 1]) != ours:
            return None
        return _size(_output(ancestors[launchers[-1]]))
    except OSError:
        return None


def errors_share_terminal() -> bool:
    """Return whether standard error is shown where standard output is; False if nobody knows."""
    if sys.stderr is not sys.__stderr__:
        return False
    try:
        ancestors = _ancestors()
        launchers = [pid for pid in ancestors if _name(pid) in _LAUNCHERS]
        if launchers and not _output(os.getpid(), 2).startswith(_HANDED_OUT):
            return False
        shown = launchers[-1] if launchers else os.getpid()
        return _output(shown, 1) == _output(shown, 2)
    except OSError:
        return False


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


def _output(pid: int, descriptor: int = 1) -> str:
    return os.readlink(_PROC / str(pid) / "fd" / str(descriptor))


def _size(device: str) -> tuple[int, int] | None:
    if not device.startswith(_TERMINALS):
        return None
    descriptor = os.open(device, os.O_RDONLY | os.O_NOCTTY)
    try:
        columns, rows = os.get_terminal_size(descriptor)
    finally:
        os.close(descriptor)
    return columns or 80, rows or 24
