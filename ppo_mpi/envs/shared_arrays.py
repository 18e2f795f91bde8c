"""Memory that a rank shares with its worker processes: what a step of the environments brings.

Axes: B environments on this rank; W numbers of their truths.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from dataclasses import dataclass

import numpy as np

ALIGNMENT = 64
"""Bytes of a cache line: workers that write side by side do not write the same one."""


@dataclass(frozen=True)
class Layout:
    """What lies in the memory."""

    num_envs: int
    num_workers: int
    obs_shape: tuple[int, ...]
    """Of one observation."""
    obs_dtype: str
    truth_size: int = 0
    """W, numbers that are told as true of an observation."""

    def entries(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return name -> (shape, dtype) of all arrays, in their order."""
        rows = (self.num_envs,)
        return {
            "obs": ((*rows, *self.obs_shape), self.obs_dtype),
            "rewards": (rows, "float32"),
            "terminated": (rows, "bool"),
            "truncated": (rows, "bool"),
            "levels": (rows, "int64"),
            "levels_now": (rows, "int64"),
            "truths": ((*rows, self.truth_size), "float32"),
            "restarts": ((self.num_workers,), "int64"),
        }


STEP_FIELDS = ("obs", "rewards", "terminated", "truncated", "levels")
"""The fields of a ``StepResult`` that travel here; the others are small and mostly empty."""
STATE_FIELDS = ("levels_now", "truths")
"""What else can be asked for between two steps."""


class SharedArrays:
    """The arrays by name, in memory that has no name of its own and ends with its last user."""

    def __init__(self, file: int, layout: Layout) -> None:
        """Map the memory.

        Args:
            file: from ``new_memory``; may be closed afterwards.
            layout: the same in every process.
        """
        places, offset = {}, 0
        for name, (shape, dtype) in layout.entries().items():
            places[name] = (offset, shape, np.dtype(dtype))
            num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
            offset += -(-num_bytes // ALIGNMENT) * ALIGNMENT
        if os.fstat(file).st_size < offset:
            os.ftruncate(file, offset)
        memory = mmap.mmap(file, max(offset, 1))
        self._arrays = {
            name: np.frombuffer(memory, dtype, math.prod(shape), start).reshape(shape)
            for name, (start, shape, dtype) in places.items()
        }

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]


def new_memory() -> int:
    """Return the descriptor of empty memory that other processes can be given.

    It needs no name, so that nothing is left over however the processes end, and does not count
    against the size of /dev/shm, which is small in containers.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ppo_mpi-environments")
    with tempfile.TemporaryFile() as file:  # it has no name either
        return os.dup(file.fileno())
