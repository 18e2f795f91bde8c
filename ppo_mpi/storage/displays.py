"""How a job shows its progress: a live panel, plain lines, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from ppo_mpi.storage.progress_line import PlainLines
from ppo_mpi.storage.terminal import terminal_size

if TYPE_CHECKING:
    from ppo_mpi.distributed.communicator import Communicator
    from ppo_mpi.storage.dashboard import Dashboard

Display = Literal["auto", "live", "plain", "off"]


def open_display(
    display: Display,
    title: str,
    total_timesteps: int,
    comm: Communicator,
    wall_seconds: Callable[[], float],
) -> Dashboard | PlainLines:
    """Return what shows a job's progress, on rank 0.

    Args:
        display: ``live`` draws the panel at a terminal, ``auto`` as well but not under Slurm.
        title: of the panel.
        total_timesteps: of the whole job.
        comm: the job; its heart lets the panel be drawn.
        wall_seconds: tells the run's wall clock.
    """
    size = partial(terminal_size, under_slurm=display == "live")
    if display in ("auto", "live") and size() is not None:
        from ppo_mpi.storage.dashboard import Dashboard  # rich is needed for nothing else

        return Dashboard(title, total_timesteps, comm.heart, comm.hosts, wall_seconds, size)
    lines = PlainLines(total_timesteps, is_off=display == "off")
    if display == "live":
        lines.message(
            "display=live: the output is no terminal on which a panel can be drawn, so plain "
            "lines are printed",
            is_warning=True,
        )
    return lines
