"""The same from Python: train, load, act, evaluate."""

from __future__ import annotations

from typing import Any

from ppo_mpi.agent import Agent, load_agent
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator, connect
from ppo_mpi.modes.evaluate import EvaluationResult, evaluate_agent
from ppo_mpi.modes.train import train_command

__all__ = ["Agent", "evaluate", "load_agent", "train"]


def train(comm: Communicator | None = None, **settings: Any) -> int:
    """Train a run with the defaults and these settings; resume it if it exists. Collective.

    Args:
        comm: the job; None joins the one that a launcher started, if any.
        settings: config fields by name, for example ``env="CartPole-v1", num_envs=8``; also
            ``clobber=True`` to start over.

    Returns:
        0, or 75 if the run was stopped by a signal and can go on.
    """
    clobber = bool(settings.pop("clobber", False))
    config = with_values(TrainConfig(), settings)
    comm = comm or connect(config.job.hang_timeout_seconds)
    return train_command(config, settings | {"clobber": clobber}, comm)


def evaluate(
    agent: Agent, episodes: int = 100, levels: str = "train", greedy: bool = False, seed: int = 0
) -> EvaluationResult:
    """Play whole episodes and return what came of them, on one process.

    Args:
        agent: from ``load_agent``.
        episodes: how many.
        levels: train, test, A:B or a list, for suites with levels.
        greedy: the most likely action instead of a sampled one.
        seed: of the episodes and the actions.
    """
    return evaluate_agent(agent, levels, episodes, seed, greedy, 32, Communicator())
