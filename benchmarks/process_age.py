"""How long this process has existed, the interpreter's own start included."""

from __future__ import annotations

import os
import time
from pathlib import Path

_IMPORTED = time.perf_counter()


def seconds_since_start() -> float:
    """Return the age of this process; where Linux does not tell it, that of this module."""
    try:
        text = Path("/proc/self/stat").read_text()
    except OSError:
        return time.perf_counter() - _IMPORTED
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_after_boot(text)


def started_after_boot(text: str) -> float:
    """Return when a process was started, in seconds after the machine was.

    Args:
        text: in the form of /proc/PID/stat; field 22 is meant.
    """
    # Field 2 is the program's name, in brackets, and may hold blanks and brackets of its own.
    behind_name = text.rpartition(")")[2].split()
    return int(behind_name[22 - 3]) / os.sysconf("SC_CLK_TCK")
