"""The libraries that setup.py built from the C files beside this one."""

from __future__ import annotations

import ctypes
import sysconfig
from pathlib import Path


def load_library(name: str) -> ctypes.CDLL | None:
    """Return the library built from ``<name>.c``; None where there was no compiler."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
    try:
        return ctypes.CDLL(str(Path(__file__).with_name(f"_{name}{suffix}")))
    except OSError:
        return None


def check_memory(status: int) -> None:
    """Raise the error that a kernel's status stands for.

    Raises:
        MemoryError: there was none for an image.
    """
    if status:
        raise MemoryError("no memory for an image")
