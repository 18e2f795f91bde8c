"""Evaluation: whole episodes, each with a level and random streams of its own.

Which episodes are played is fixed beforehand, so that short ones are not favored, and neither the
number of ranks nor that of environments changes the result. Axes: B environments on this rank; S
numbers that the policy remembers of an episode.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import ppo_mpi
from ppo_mpi.agent import Agent, agent_from_checkpoint, read_run
from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.machine import choose_device, set_threads
from ppo_mpi.errors import (
    FailedEnvironmentError,
    IterationAbandonedError,
)
from ppo_mpi.modes.evaluation_plan import (
    level_names,
    normalized_mean,
    num_places,
    playing_order,
)
from ppo_mpi.modes.evaluation_report import (
    EvaluationResult,
    check_writable,
    corruption_words,
    report_games,
)
from ppo_mpi.modes.evaluation_tables import PlayedEpisode
from ppo_mpi.modes.layers import check_layers
from ppo_mpi.modes.playing import play_episodes
from ppo_mpi.modes.step_store import StepStore
from ppo_mpi.modes.step_writing import StepSet, write_steps
from ppo_mpi.modes.steps import Watcher
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.storage.durable import on_root


def evaluate_agent(
    agent: Agent,
    levels: str,
    episodes: int,
    seed: int,
    greedy: bool,
    num_envs: int,
    comm: Communicator,
    watcher: Watcher | None = None,
) -> EvaluationResult:
    """Play ``episodes`` episodes, split over the ranks; the same result everywhere. Collective.

    Args:
        agent: the same on every rank.
        levels: train, test, a range or a list.
        episodes: of the whole job.
        seed: of the episodes and the actions.
        greedy: the most likely action instead of a sampled one.
        num_envs: environments of the whole job; changes the speed only.
        comm: the job.
        watcher: sees the steps of this rank's episodes; None if nobody does.

    Raises:
        IterationAbandonedError: a signal to stop came too long ago, in training; on all ranks.
        FailedEnvironmentError: an environment raised in every episode; on all ranks.
    """
    num_slots = num_places(agent, episodes, num_envs)
    numbers = [list(range(slot, episodes, num_slots)) for slot in comm.shard(num_slots)]
    try:
        own: list[PlayedEpisode] | None
        own = play_episodes(agent, numbers, levels, seed, greedy, comm.heart, watcher)
    except IterationAbandonedError:
        own = None
    parts = comm.gather_all(own)  # collective
    played = []
    for part in parts:
        if part is None:
            raise IterationAbandonedError("a signal to stop came during an evaluation")
        played += part
    if not played:
        raise FailedEnvironmentError(
            f"{agent.config.environment.env} raised in every episode of an evaluation; mend it"
        )
    played.sort(key=lambda e: e.episode)
    return EvaluationResult(levels, played, normalized_mean(agent, played))


NOT_EVALUATED = {"eval_mean_return": math.nan, "eval_mean_length": math.nan}
"""An evaluator's metrics in iterations without evaluation: empty cells of the log."""


class Evaluator:
    """Evaluates the policy during training, on held-out levels where there are levels."""

    def __init__(self, agent: Agent, episodes: int, num_envs: int, seed: int) -> None:
        self.agent = agent
        self.episodes = episodes
        self.num_envs = num_envs
        self.seed = seed

    @classmethod
    def for_training(cls, config: TrainConfig, run: Run, comm: Communicator) -> Evaluator:
        """Make the evaluator of a training job; its agent is the model that is being trained."""
        model, normalizer = run.model, run.observation_normalizer
        agent = Agent(config, Path(), 0, model, normalizer, Path())
        num_envs = max(comm.world_size, min(config.environment.num_envs, config.job.eval_episodes))
        return cls(agent, config.job.eval_episodes, num_envs, config.job.seed)

    def metrics(self, comm: Communicator) -> dict[str, float]:
        """Return the evaluation's mean return and length, for the log. Collective."""
        result = evaluate_agent(
            self.agent, "test", self.episodes, self.seed, False, self.num_envs, comm
        )  # collective
        figures = result.summary()
        return {f"eval_{name}": figures[name] for name in ("mean_return", "mean_length")}


def evaluate_command(config: EvaluateConfig, comm: Communicator) -> int:
    """Evaluate a run's agent; print a table, write JSON. Collective.

    Returns:
        the exit status, 0.

    Raises:
        CheckpointError: there is no such run, or no whole checkpoint.
    """
    set_threads(config.threads, comm.node_affinities, comm.local_rank)
    files = {n: getattr(config, n) for n in ("json", "table", "level_table", "save_steps")}
    on_root(comm, lambda: check_writable(**files))  # collective
    checkpoint, warnings = on_root(
        comm, lambda: read_run(config.run, config.checkpoint_dir)
    )  # collective
    device = choose_device(config.device, comm.local_rank)
    named = {"env": config.env, "env_kwargs": config.env_kwargs}
    agent = agent_from_checkpoint(checkpoint, device, config.precision, named)
    agent = agent.seeing(config.corruption, config.corruption_severity)
    layers = config.activation_layers if config.activations else None
    if layers is not None:
        check_layers(agent, layers)  # an unknown one is said now
    if comm.is_root:
        for warning in warnings:
            print(warning)
        if agent.note:
            print(agent.note)
    measured: list[tuple[Agent, list[EvaluationResult]]] = []
    kept: list[StepSet] = []
    with contextlib.ExitStack() as cleanup:
        for game in agent.games:
            own = agent.shown_in(game) if len(agent.games) > 1 else agent
            measured.append((own, []))
            for name in level_names(own, config.levels):
                store, watcher = None, None
                if config.save_steps:
                    store = cleanup.enter_context(StepStore())
                    watcher = Watcher(store.add, layers=layers)
                levels, episodes = playing_order(own, name, config)
                result = evaluate_agent(
                    own, levels, episodes, config.seed, config.greedy, config.num_envs, comm,
                    watcher,
                )  # collective  # fmt: skip
                measured[-1][1].append(replace(result, levels=name))
                if store is not None:
                    kept.append(StepSet(game, name, result.episodes, store))
        if config.save_steps:
            path = Path(config.save_steps).expanduser()
            write_steps(path, kept, about_steps(agent, config), comm)  # collective
    on_root(comm, lambda: report_games(config, measured))  # collective
    return 0


def about_steps(agent: Agent, config: EvaluateConfig) -> dict[str, Any]:
    """Return what a file of steps tells of its agent and of the evaluation."""
    return {
        "run": agent.run_name,
        "checkpoint": agent.checkpoint.name,
        "timesteps": agent.timesteps,
        "env": agent.config.environment.env,
        "trained_in": agent.trained_in or agent.config.environment.env,
        "corruption": corruption_words(agent),
        "levels": config.levels,
        "greedy": config.greedy,
        "seed": config.seed,
        "ppo_mpi": ppo_mpi.__version__,
    }
