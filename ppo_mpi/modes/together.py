"""The modes beside training in which all ranks of a job take part, each behind one function."""

from __future__ import annotations

from typing import Any

from ppo_mpi.distributed.communicator import Communicator


def run_together(mode: str, config: Any, comm: Communicator) -> int:
    """Run a mode on all ranks; return the exit status. Collective.

    Args:
        mode: evaluate, or record with trajectories.
        config: its settings.
        comm: the job.
    """
    if mode == "record":
        from ppo_mpi.modes.trajectories import trajectories_command

        return trajectories_command(config, comm)  # collective
    from ppo_mpi.modes.evaluate import evaluate_command

    return evaluate_command(config, comm)  # collective
