"""Lets a child process find out whether Procgen's engine survives something.

The engine ends the process over what it does not like, and its libraries abort. What comes from a
checkpoint is therefore tried in a child first, which may die, and gets little memory to fill.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable

SECONDS = 60
"""How long a trial may take, on a busy machine too; it takes about a millisecond for each state."""
SPARE_BYTES = 2**30
"""Memory that it may take beyond what this process has."""
FATAL = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGALRM)
PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.002


def survives(action: Callable[[], None]) -> bool:
    """Return whether a copy of this process gets through ``action`` alive and in time.

    Args:
        action: must not communicate, nor wait for another thread: the copy has none.

    Raises:
        OSError: the system cannot make another process.
    """
    child = os.fork()
    if child == 0:
        _run_and_end(action)
    deadline = time.monotonic() + SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(POLL_SECONDS)


def _run_and_end(action: Callable[[], None]) -> None:
    """Do it and end this process at once, without what normally happens at an end."""
    status = 1
    try:
        _end_with_parent()
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # among them the lock of the run's folder
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = _address_space() + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        action()
        status = 0
    finally:
        os._exit(status)


def _end_with_parent() -> None:
    """Let nothing keep this process alive: no handler of its parent, not its parent's death."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)) or number in FATAL:
            signal.signal(number, signal.SIG_DFL)
    signal.alarm(SECONDS)
    library = ctypes.CDLL(None)
    if hasattr(library, "prctl"):
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _address_space() -> int:
    """Return the bytes that this process may address now."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.RLIM_INFINITY - SPARE_BYTES
