"""Why and when a training job ends; in lock-step on every rank."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.signals import EXIT_STOPPED, STOP
from ppo_mpi.modes.announcements import say_goodbye
from ppo_mpi.modes.report import report_at_end
from ppo_mpi.modes.saving import save
from ppo_mpi.snapshot import Snapshot
from ppo_mpi.storage.logger import Logger


@dataclass(frozen=True)
class Ending:
    """Why the loop ended."""

    reason: str
    """"finished", "time is up" or "stopped by SIGNAL"."""
    status: int
    """Exit status: 0, or 75 for a run that was stopped and can go on."""


def conclude(
    ending: Ending, run: Run, config: TrainConfig, comm: Communicator, run_dir: Path
) -> None:
    """Write the run's report and say where everything is; on rank 0."""
    if not comm.is_root:
        return
    report_at_end(config, run_dir)
    if config.job.display != "off":
        say_goodbye(run_dir, run, config, ending.reason)


def agree_to_end(
    run: Run, config: TrainConfig, comm: Communicator, started: float, seconds: float
) -> tuple[Ending | None, float]:
    """Decide whether the job ends now, the same on every rank. Collective.

    Args:
        run: after an iteration.
        config: the settings.
        comm: the job.
        started: ``time.monotonic()`` from which max_seconds counts.
        seconds: that this rank's iteration took.

    Returns:
        why to end, or None to go on; and rank 0's seconds.
    """
    max_seconds = config.job.max_seconds
    time_is_up = comm.is_root and 0 < max_seconds <= time.monotonic() - started
    own = [STOP.requested, time_is_up, seconds if comm.is_root else 0.0]
    stops, late, seconds = comm.sum(np.array(own, float)).tolist()  # collective
    if run.progress.iteration >= config.num_iterations:
        return Ending("finished", 0), seconds
    if stops:
        return stopped(), seconds
    return Ending("time is up", 0) if late else None, seconds


def give_up(
    start: Snapshot | None, config: TrainConfig, comm: Communicator, logger: Logger, run_dir: Path
) -> Ending:
    """Save where an iteration began, if that is not saved yet, and end. Collective."""
    if start is not None and start.progress.iteration:
        save(start, config, comm, logger, run_dir, improved=False)  # collective
    return stopped()


def stopped() -> Ending:
    """Return why a run ends that was told to."""
    return Ending(f"stopped by {STOP.signal_name or 'a signal'}", EXIT_STOPPED)
