"""A run as ``train`` returns it to Python: where it is, how it went, and its agent."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo_mpi.agent import Agent, load_agent
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import FailedEnvironmentError
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.modes.evaluation_report import EvaluationResult
from ppo_mpi.modes.steps import Callback, Step, Watcher
from ppo_mpi.settings.checks import at_least
from ppo_mpi.settings.level_sets import check_levels
from ppo_mpi.storage.checkpoint import load_newest
from ppo_mpi.storage.run_folder import PROGRESS, checkpoints_of
from ppo_mpi.storage.stored_config import stored_config

NUM_ENVS = 32
"""Environments stepped at once where nobody looks at the steps."""


@dataclass(frozen=True)
class Run:
    """A run that was trained."""

    path: Path
    """Its folder."""
    status: int
    """0 if it is finished, 75 if a signal stopped it and it can go on."""
    asked: TrainConfig
    """The settings as ``train`` was given them; a run that went on kept its own (``config``)."""

    @property
    def config(self) -> TrainConfig:
        """All settings of the newest checkpoint."""
        return stored_config(load_newest(self.path)[0])

    @property
    def progress(self) -> list[dict[str, float | None]]:
        """The rows of progress.csv, one for each iteration; None where a cell is empty."""
        with (self.path / PROGRESS).open(newline="", encoding="utf-8") as file:
            return [
                {name: float(cell) if cell else None for name, cell in row.items()}
                for row in csv.DictReader(file)
            ]

    @property
    def checkpoints(self) -> list[Path]:
        """Its checkpoints, the newest first."""
        return checkpoints_of(self.path)

    def agent(self, tag: str = "", **options: Any) -> Agent:
        """Load its agent.

        Args:
            tag: ``best``, another tag or a checkpoint's timesteps; empty takes the newest.
            options: device, precision, env and env_kwargs, as in ``load_agent``.
        """
        # The process has named the environment itself.
        named = self.asked.environment
        own = {"env": named.env, "env_kwargs": named.env_kwargs}
        run = f"{self.path.resolve()}:{tag}" if tag else str(self.path.resolve())
        return load_agent(run, **(own | options))

    def evaluate(self, **options: Any) -> EvaluationResult:
        """Evaluate its newest agent; the arguments are those of ``api.evaluate``."""
        return evaluate_alone(self.agent(), **options)


def evaluate_alone(
    agent: Agent,
    episodes: int = 100,
    levels: str = "train",
    greedy: bool = False,
    seed: int = 0,
    callback: Callback | None = None,
    num_envs: int = 0,
) -> EvaluationResult:
    """Play whole episodes and return what came of them, on one process.

    Args:
        agent: who plays.
        episodes: how many.
        levels: train, test, a range or a list, for suites with levels.
        greedy: the most likely action instead of a sampled one.
        seed: of the episodes and the actions.
        callback: sees each step (``modes/steps.py``); True ends the evaluation, and the result
            has the episodes that were over by then.
        num_envs: environments stepped at once, which changes the speed and the order in which
            steps are seen; 0 = 32, or 1 with a callback: one episode after the other.

    Raises:
        ConfigError: a value is out of its range.
        FailedEnvironmentError: an environment raised in every episode.
    """
    at_least(1, episodes=episodes)
    at_least(0, seed=seed, num_envs=num_envs)
    check_levels(levels, allow_both=False)
    places = num_envs or (1 if callback else NUM_ENVS)
    has_seen_enough = False

    def look(step: Step) -> bool:
        nonlocal has_seen_enough
        has_seen_enough |= callback is not None and callback(step) is True
        return has_seen_enough

    watcher = Watcher(look) if callback else None
    try:
        return evaluate_agent(
            agent, levels, episodes, seed, greedy, places, Communicator(), watcher
        )  # collective
    except FailedEnvironmentError:
        if not has_seen_enough:
            raise
        return EvaluationResult(levels, [], None)  # no episode was over
