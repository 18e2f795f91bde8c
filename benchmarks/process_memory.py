"""Memory of this process as Linux counts it: what is resident, and the most that ever was."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.jobs import program

STATUS = Path("/proc/self/status")


def require_linux() -> None:
    """Leave with a remedy where no such counts are kept."""
    if not STATUS.exists():
        sys.exit(
            f"{program()}: error: platform={sys.platform} has no {STATUS}, from which the peak of "
            "the memory is read; measure on Linux"
        )


def status_text() -> str:
    """Return what Linux says of this process at this moment."""
    return STATUS.read_text()


def status_bytes(field: str, text: str) -> int:
    """Return a size from a process's status.

    Args:
        field: VmHWM (the peak), VmRSS (now), RssAnon (own pages), RssFile (pages of files, which
            the ranks of a machine share).
        text: in the form of /proc/PID/status.

    Returns:
        bytes.

    Raises:
        ValueError: there is no such field.
    """
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            number, unit = value.split()
            assert unit == "kB", "the only unit that Linux has here; it means 1024 bytes"
            return int(number) * 1024
    raise ValueError(f"{STATUS} has no field {field!r}; a Linux of this century has it")
