"""The same from Python: train, load, act, evaluate."""

from __future__ import annotations

import os
from typing import Any

from ppo_mpi.agent import Agent, load_agent
from ppo_mpi.cli import parse_command
from ppo_mpi.config import flatten, with_values
from ppo_mpi.distributed.communicator import Communicator, connect
from ppo_mpi.distributed.watchdog import Watchdog
from ppo_mpi.modes.evaluate import EvaluationResult, evaluate_agent
from ppo_mpi.modes.train import train_command

__all__ = ["Agent", "evaluate", "load_agent", "train"]


def train(
    env: str = "",
    preset: str = "",
    *,
    clobber: bool = False,
    comm: Communicator | None = None,
    **settings: Any,
) -> int:
    """Train a run, or go on with it, as ``python -m ppo_mpi train`` does. Collective.

    Args:
        env: environment; empty takes the preset's, or coinrun.
        preset: published settings by name; empty takes the one registered for the environment.
        clobber: whether to start over a run of the same name.
        comm: the job; None joins the one that a launcher started, if any.
        settings: config fields by name, for example ``num_envs=8``; stronger than the preset.

    Returns:
        0, or 75 if the run was stopped by a signal and can go on.
    """
    words = [f"--{key}={value}" for key, value in (("env", env), ("preset", preset)) if value]
    command = parse_command(["train", *words])
    config = with_values(command.config, settings)
    comm = comm or connect(survive_losses=config.job.on_failure == "shrink")  # collective
    values = flatten(config)  # lists have become tuples, as a checkpoint's
    given = command.given | {name: values[name] for name in settings} | {"clobber": clobber}
    # The process's own standard error: a notebook's has no descriptor.
    console = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    watchdog = Watchdog(comm, config.job.hang_timeout_seconds, console)
    watchdog.start()
    try:
        return train_command(config, given, comm, watchdog.follow)  # collective
    finally:
        watchdog.stop()


def evaluate(
    agent: Agent, episodes: int = 100, levels: str = "train", greedy: bool = False, seed: int = 0
) -> EvaluationResult:
    """Play whole episodes and return what came of them, on one process.

    Args:
        agent: from ``load_agent``.
        episodes: how many.
        levels: train, test, a range or a list, for suites with levels.
        greedy: the most likely action instead of a sampled one.
        seed: of the episodes and the actions.
    """
    alone = Communicator()
    return evaluate_agent(agent, levels, episodes, seed, greedy, 32, alone)  # collective
