"""Reads files that may come from a stranger: no links, no devices, nothing beyond the memory.

A tensor file claims sizes in its header. They are compared with the bytes that are there before
anything is made of them.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import struct
from pathlib import Path
from typing import Any

from ppo_mpi.storage.strict_json import parse_json

MAX_HEADER_BYTES = 2**24
"""Largest header of a tensor file; it has about 90 bytes for each tensor or environment."""
ITEM_BYTES = {"F32": 4, "F64": 8, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
"""The types that a checkpoint may hold, by safetensors' names."""
MAX_DIMENSIONS = 8


def memory_bytes(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that this process may use: the machine's, or what its group is given.

    Args:
        groups: where Linux shows the control groups (version 2).
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        own = Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
    except OSError:
        return physical
    limits = [physical]
    for folder in (groups / own, *(groups / own).parents):
        with contextlib.suppress(OSError, ValueError):  # "max", or no such file
            limits.append(int((folder / "memory.max").read_text()))
        if folder == groups:
            break
    return min(limits)


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Read a file that is neither a link nor a device nor larger than ``max_bytes``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file; the message says why.
    """
    if path.is_symlink():
        raise ValueError(f"{path.name} is a symbolic link")
    # A pipe in the file's place would let the opening wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        if status.st_size > max_bytes:
            raise ValueError(f"{path.name} has {status.st_size} bytes, more than {max_bytes}")
        return file.read(status.st_size)


def check_tensor_file(content: bytes) -> None:
    """Compare the header of a safetensors file with the bytes behind it.

    Raises:
        ValueError: it claims what is not there, or what no checkpoint holds.
    """
    if len(content) < 8:
        raise ValueError(f"it has {len(content)} bytes")
    (header_bytes,) = struct.unpack_from("<Q", content)
    num_bytes = len(content) - 8 - header_bytes
    if header_bytes > MAX_HEADER_BYTES or num_bytes < 0:
        raise ValueError(f"its header claims {header_bytes} of {len(content)} bytes")
    header = parse_json(content[8 : 8 + header_bytes])
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    spans = sorted(_span(name, entry) for name, entry in header.items() if name != "__metadata__")
    end = 0
    for begin, behind in spans:
        if begin != end:
            raise ValueError(f"its tensors do not lie one behind the other at byte {begin}")
        end = behind
    if end != num_bytes:
        raise ValueError(f"its tensors claim {end} bytes, there are {num_bytes}")


def _span(name: str, entry: Any) -> tuple[int, int]:
    what = f"its tensor {name[:80]!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{what} has no dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"{what} has the type {str(dtype)[:80]!r}; known: {', '.join(ITEM_BYTES)}")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"{what} has the shape {str(shape)[:80]}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{what} has the offsets {str(offsets)[:80]}")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"{what} has {end - begin} bytes for the shape {shape}")
    return begin, end


def _are_sizes(values: Any) -> bool:
    if not isinstance(values, list):
        return False
    return all(type(value) is int and 0 <= value < 2**48 for value in values)
