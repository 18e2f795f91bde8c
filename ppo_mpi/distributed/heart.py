"""What a rank is doing: told by its main thread, read by its watchdog.

A beat costs two assignments, so that it may be given at every step of an environment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

START_UP = "starting up"
SAVING = "saving"
EVALUATING = "evaluating"
LOGGING = "logging"

START_UP_SECONDS = 600.0
"""Least limit, where none is set, of what happens rarely and depends on disks and imports."""
LEAST_SECONDS = 120.0
"""Least limit elsewhere, where none is set."""
SLOWEST_FACTOR = 10.0
"""How many times the longest silence so far a rank may be silent, where no limit is set."""


class Heart:
    """The phase of a rank and a count of its beats."""

    def __init__(self) -> None:
        self.phase = START_UP
        self.waiting_for = ""
        """The collective that the rank waits in; empty while it works."""
        self.worker: tuple[str, int] | None = None
        """The worker process that the rank waits for: in words, and its id. The rank works."""
        self.iteration = 0
        """The iteration in flight, counted from 1; 0 before the first."""
        self.beats = 0
        self.settled = False
        """Whether one iteration of this process is over: its silences are typical ones."""
        self.folder: Path | None = None
        """Where the rank's records go, once there is a run."""
        self.pulse: Callable[[], None] | None = None
        """Called at every beat, by the thread that beats; must be as cheap as a beat."""

    def beat(self, phase: str) -> None:
        """Say that the rank lives, and what it begins to do."""
        self.phase = phase
        self.beats += 1
        if self.pulse is not None:
            self.pulse()

    def begin_iteration(self, iteration: int) -> None:
        """Say which iteration, counted from 1, begins."""
        self.settled = self.settled or self.iteration > 0
        self.iteration = iteration
        self.beats += 1

    def describe(self) -> str:
        """Return phase and iteration in words."""
        worker = self.worker  # another thread may change it
        where = f" in iteration {self.iteration}" if self.iteration else ""
        waiting = f", waiting in {self.waiting_for}" if self.waiting_for else ""
        if worker is not None:
            waiting += f", waiting for {worker[0]}"
        return f"{self.phase}{where}{waiting}"


def silence_limit(asked_seconds: float, heart: Heart, slowest_seconds: float) -> float:
    """Return how long the rank may be silent in its present phase.

    Args:
        asked_seconds: the user's limit; 0 for one that adapts.
        heart: of the rank.
        slowest_seconds: longest silence of this rank so far.

    Returns:
        seconds. A limit that was asked for holds from the first iteration on; before it, imports
        and disks decide how long things take.
    """
    started = heart.iteration > 0
    if asked_seconds > 0:
        return asked_seconds if started else max(asked_seconds, LEAST_SECONDS)
    rare = heart.phase in (START_UP, SAVING, EVALUATING, LOGGING) or not heart.settled
    least = START_UP_SECONDS if rare else LEAST_SECONDS
    return max(least, SLOWEST_FACTOR * slowest_seconds)
