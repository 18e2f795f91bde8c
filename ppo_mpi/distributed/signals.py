"""Signals -> one stop flag. Imports nothing heavy: installed in the first lines of the program.

A signal that arrives while torch or MPI are still being imported would otherwise end the rank at
once and leave its peers waiting.
"""

from __future__ import annotations

import math
import os
import signal
import time
from types import FrameType

from ppo_mpi.errors import IterationAbandonedError

GRACEFUL = ("SIGUSR1", "SIGUSR2", "SIGTERM", "SIGINT")
"""Signals after which a run saves a checkpoint and leaves. SIGUSR1 is the one to send through a
launcher: Open MPI's mpirun kills its ranks a quarter of a second after SIGTERM."""

EXIT_STOPPED = 75
"""Exit status of a run that was stopped and can go on (EX_TEMPFAIL: try again later)."""


class StopFlag:
    """Remembers whether this process was asked to stop; the ranks agree on it later."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self.grace_seconds = math.inf
        """How long after the signal an iteration may still go on."""
        self._came_at = 0.0

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self.signal_name is not None

    @property
    def overdue(self) -> bool:
        """Whether a signal came, and its grace time is over."""
        return self.requested and time.monotonic() - self._came_at > self.grace_seconds

    def check_grace(self) -> None:
        """Let an iteration go on.

        Raises:
            IterationAbandonedError: the grace time is over.
        """
        if self.overdue:
            raise IterationAbandonedError(f"{self.signal_name} came too long ago")

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; a second SIGINT ends the process at once."""
        name = signal.Signals(number).name
        if name == "SIGINT" and self.signal_name == "SIGINT":
            raise KeyboardInterrupt
        if not self.requested:
            self.signal_name = name
            self._came_at = time.monotonic()
            if name == "SIGINT":  # os.write is safe in a handler, print is not
                os.write(2, b"\nstopping after this iteration (Ctrl-C again: at once)\n")


# The one piece of module state: a process has only one set of signal handlers.
STOP = StopFlag()


def install_handlers() -> None:
    """Let every graceful signal set ``STOP`` instead of ending the process."""
    for name in GRACEFUL:
        signal.signal(getattr(signal, name), STOP.handle)


def ignore_resent() -> None:
    """Let a signal not end a process that is leaving already, with a status of its own.

    MPI is left behind after Python's handlers are gone, and what stops a job may reach its ranks
    one after the other, or again and again.
    """
    for name in GRACEFUL:
        signal.signal(getattr(signal, name), signal.SIG_IGN)


def restore_handlers() -> None:
    """Go back to Python's defaults, for modes that have nothing to save.

    A signal that came in the meantime ends the process now.
    """
    for name in GRACEFUL:
        number = getattr(signal, name)
        default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(number, default)
    if STOP.requested:
        raise KeyboardInterrupt
