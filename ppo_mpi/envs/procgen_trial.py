"""Lets a child process find out whether Procgen's engine survives something.

The engine ends the process over what it does not like, and its libraries abort. What comes from a
checkpoint is therefore tried in a child first, which may die.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable

SECONDS = 120.0
"""How long a trial may take, on a busy machine too; it takes about a millisecond for each state."""
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
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE):
            signal.signal(number, signal.SIG_DFL)
        action()
        status = 0
    finally:
        os._exit(status)
