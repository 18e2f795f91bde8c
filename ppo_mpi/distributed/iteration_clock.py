"""What the ranks spent an iteration's time on, and the memory that they have."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np

from ppo_mpi.distributed.communicator import Communicator

CLOCK_COLUMNS = (
    *("collect_seconds", "engine_seconds", "update_seconds", "communication_seconds"),
    *("waiting_seconds", "between_seconds", "busy_min", "busy_median", "busy_max", "slowest_rank"),
    *("memory_mebibytes", "largest_rank_mebibytes"),
)
"""The metrics that no two runs share."""

MEMORY_SECONDS = 1.0
"""How old the memory that is told may be."""

_PROC = Path("/proc/self")


class IterationClock:
    """Measures a rank's iterations; the ranks' times come together once in each."""

    def __init__(self) -> None:
        self._began = self._collected = self._waited = 0.0
        self._ended: float | None = None
        self._memory, self._memory_read_at = 0.0, -math.inf

    def start(self, seconds_in_collectives: float) -> None:
        """Begin an iteration: the rank collects.

        Args:
            seconds_in_collectives: of this rank, so far.
        """
        self._began, self._waited = time.monotonic(), seconds_in_collectives

    def collected(self) -> None:
        """Say that the rank begins to learn."""
        self._collected = time.monotonic()

    def metrics(self, comm: Communicator, engine_seconds: float, restarts: int) -> dict[str, float]:
        """End an iteration; return what it took, the same on every rank. Collective.

        Nobody can tell a message's own time from the wait for the rank that comes last. The rank
        that spent least in collectives hardly waited, so what the others spent there beyond it
        counts as waiting. Where the ranks take turns in being the slowest, that is too little.

        Args:
            comm: the job.
            engine_seconds: that this rank waited for its environments, while it collected.
            restarts: environments of this rank that were made anew.

        Returns:
            means over the ranks in seconds: collect, engine (within collect), update,
            communication (within update), waiting (within communication), and between, from the
            end of the iteration before to the beginning of this one; the shares of their time
            that ranks were busy; the busiest rank; MiB of all ranks and of the largest.
        """
        now = time.monotonic()
        between = 0.0 if self._ended is None else self._began - self._ended
        if now - self._memory_read_at >= MEMORY_SECONDS:  # files are slow beside short iterations
            self._memory, self._memory_read_at = resident_mebibytes(), now
        own = [
            self._collected - self._began, engine_seconds, now - self._collected,
            comm.seconds - self._waited, between, self._memory, float(restarts),
        ]  # fmt: skip
        rows = comm.by_rank(np.array(own))  # collective
        collect, engine, update, communication, between_, memory, restarted = rows.T
        busy = 1 - communication / np.maximum(collect + update, 1e-9)
        spent = communication.mean()
        self._ended = now
        return {
            "collect_seconds": float(collect.mean()),
            "engine_seconds": float(engine.mean()),
            "update_seconds": float(update.mean()),
            "communication_seconds": float(spent),
            "waiting_seconds": float(spent - communication.min()),
            "between_seconds": float(between_.mean()),
            "busy_min": float(busy.min()),
            "busy_median": float(np.median(busy)),
            "busy_max": float(busy.max()),
            "slowest_rank": float(busy.argmax()),
            "memory_mebibytes": float(memory.sum()),
            "largest_rank_mebibytes": float(memory.max()),
            "restarted_envs": float(restarted.sum()),
        }


def resident_mebibytes() -> float:
    """Return the memory of this process and its worker processes; NaN where nobody tells.

    Pages that processes share count for each of them.
    """
    try:
        children = (_PROC / "task" / str(os.getpid()) / "children").read_text().split()
    except OSError:
        children = []
    own = _resident_pages("self")
    workers = (_resident_pages(child) for child in children)
    pages = own + sum(number for number in workers if not math.isnan(number))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _resident_pages(pid: str) -> float:
    try:
        return float((_PROC.parent / pid / "statm").read_text().split()[1])
    except (OSError, IndexError):  # of a child that has just ended
        return math.nan
