"""Evaluation: whole episodes, each with a level and random streams of its own.

Which episodes are played is fixed beforehand, so that short ones are not favored, and neither the
number of ranks nor that of environments changes the result. Axes: B environments on this rank; S
numbers that the policy remembers of an episode.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from ppo_mpi.agent import Agent, agent_from_checkpoint, read_run
from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import EVALUATING, Heart
from ppo_mpi.distributed.machine import choose_device, set_threads
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.envs.base import ObservationSpec, StepResult, VecEnvs
from ppo_mpi.envs.procgen_scores import normalized_score
from ppo_mpi.errors import (
    ConfigError,
    FailedEnvironmentError,
    IterationAbandonedError,
    NonFiniteError,
)
from ppo_mpi.levels import level_of_episode
from ppo_mpi.mode_config import EvaluateConfig
from ppo_mpi.modes.acting import act_for
from ppo_mpi.modes.evaluation_report import EvaluationResult, check_writable, report
from ppo_mpi.modes.evaluation_tables import PlayedEpisode
from ppo_mpi.networks.distributions import draw_noise
from ppo_mpi.registry import split_env_name
from ppo_mpi.seeding import generator
from ppo_mpi.settings.level_sets import level_set
from ppo_mpi.storage.durable import on_root

MOST_LISTED = 10**6
"""Training levels up to which each of them is played when so wished."""


def play_episodes(
    agent: Agent, numbers: list[list[int]], levels: str, seed: int, greedy: bool, heart: Heart
) -> list[PlayedEpisode]:
    """Play this rank's episodes; no communication.

    Args:
        agent: who plays.
        numbers: for each slot, the numbers of its episodes in order; none may be empty.
        levels: which levels, as in ``level_of_episode``.
        seed: of the evaluation.
        greedy: the most likely action instead of a sampled one.
        heart: of this rank.

    Returns:
        the episodes; without those in which an environment raised, where that is let pass.

    Raises:
        NonFiniteError: a reward or an observation is NaN or infinite.
        IterationAbandonedError: a signal to stop came too long ago, in training.
    """
    num_slots = len(numbers)
    if not num_slots:
        return []
    envs = agent.make_envs(num_slots, seed, stream="evaluate", levels=levels)
    spec = agent.model.action_spec
    position = [0] * num_slots
    noise = [generator(seed, "evaluate:actions", own[0]) for own in numbers]
    obs = begin_episodes(agent, envs, numbers, levels, seed)
    returns, lengths = np.zeros(num_slots), np.zeros(num_slots, int)
    active, memory = list(range(num_slots)), agent.no_memory(num_slots)
    played = []
    while active:
        heart.beat(EVALUATING)
        STOP.check_grace()
        draws = None if greedy else np.stack([draw_noise(noise[s], 1, spec)[0] for s in active])
        result = envs.step(act_for(agent, obs, active, draws, memory))
        memory[result.terminated | result.truncated] = 0.0
        obs = result.obs
        check_finite(result, envs.obs_spec, active, agent.config.environment.env)
        returns += result.rewards
        lengths += 1
        for slot in list(active):
            if not (result.terminated[slot] or result.truncated[slot]):
                continue
            number = numbers[slot][position[slot]]
            episode = ended_episode(result, slot, number, returns[slot], lengths[slot])
            if slot not in result.dropped:
                played.append(episode)
            returns[slot] = lengths[slot] = 0
            position[slot] += 1
            rest = numbers[slot][position[slot] :]
            if not rest:
                active.remove(slot)
                continue
            noise[slot] = generator(seed, "evaluate:actions", rest[0])
            if len(rest) > 1:  # the next one has begun by itself; this is the one after it
                agent.assign(envs, slot, rest[1], levels, seed)
    envs.close()
    return played


def ended_episode(
    result: StepResult, slot: int, number: int, episode_return: float, length: int
) -> PlayedEpisode:
    """Return the episode that ended in a slot with this step."""
    told = result.episode_facts.get(slot, {})
    facts = {name: float(value) for name, value in told.items()}
    level = int(result.levels[slot])
    return PlayedEpisode(number, level, float(episode_return), int(length), facts)


def begin_episodes(
    agent: Agent, envs: VecEnvs, numbers: list[list[int]], levels: str, seed: int
) -> np.ndarray:
    """Begin the first episode of each slot and assign the second; return the observations."""
    for slot, own in enumerate(numbers):
        agent.assign(envs, slot, own[0], levels, seed)
    obs = envs.reset()
    for slot, own in enumerate(numbers):
        if len(own) > 1:
            agent.assign(envs, slot, own[1], levels, seed)
    return obs


def check_finite(result: StepResult, spec: ObservationSpec, active: list[int], env: str) -> None:
    """Refuse rewards and observations of which no mean and no action could be made.

    Args:
        result: of a step.
        spec: of its observations.
        active: the slots that count.
        env: for the message.

    Raises:
        NonFiniteError: there is a NaN or an infinity.
    """
    seen = spec.vectors(result.obs)
    for what, numbers in (("a reward", result.rewards), ("an observation", seen)):
        bad = numbers[active][~np.isfinite(numbers[active])]
        if bad.size:
            raise NonFiniteError(
                f"{what} of {env} is {float(bad[0])} in an evaluation; mend the environment and "
                "start the same command again"
            )


def evaluate_agent(
    agent: Agent,
    levels: str,
    episodes: int,
    seed: int,
    greedy: bool,
    num_envs: int,
    comm: Communicator,
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

    Raises:
        IterationAbandonedError: a signal to stop came too long ago, in training; on all ranks.
        FailedEnvironmentError: an environment raised in every episode; on all ranks.
    """
    num_slots = min(num_envs, episodes)
    numbers = [list(range(slot, episodes, num_slots)) for slot in comm.shard(num_slots)]
    try:
        own: list[PlayedEpisode] | None
        own = play_episodes(agent, numbers, levels, seed, greedy, comm.heart)
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
    suite, game = split_env_name(agent.config.environment.env)
    normalized = None
    if suite == "procgen":
        mean = float(np.mean([e.episode_return for e in played]))
        normalized = normalized_score(game, agent.config.procgen.distribution_mode, mean)
    return EvaluationResult(levels, played, normalized)


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


def playing_order(agent: Agent, levels: str, config: EvaluateConfig) -> tuple[str, int]:
    """Return which levels are played in turn, and how many episodes there are.

    Args:
        agent: who plays.
        levels: train, test, a range or a list.
        config: how many, in all or on each level.

    Raises:
        ConfigError: episodes on each level are asked for, and there are no levels.
    """
    per_level = config.episodes_per_level
    if not per_level:
        return levels, config.episodes
    if not agent.has_levels:
        raise ConfigError(
            f"episodes_per_level={per_level}: {agent.config.environment.env} has no levels; use "
            "--episodes"
        )
    procgen = agent.config.procgen
    listed = level_set(levels)
    if levels == "train" and 0 < procgen.num_levels <= MOST_LISTED:
        return levels, per_level * procgen.num_levels
    if listed is None:
        drawn = range(config.episodes)
        listed = [level_of_episode(levels, k, procgen, config.seed) for k in drawn]
        levels = ",".join(map(str, listed))
    return levels, per_level * len(listed)


def evaluate_command(config: EvaluateConfig, comm: Communicator) -> int:
    """Evaluate a run's agent; print a table, write JSON. Collective.

    Returns:
        the exit status, 0.

    Raises:
        CheckpointError: there is no such run, or no whole checkpoint.
    """
    set_threads(config.threads, comm.node_affinities, comm.local_rank)
    files = {name: getattr(config, name) for name in ("json", "table", "level_table")}
    on_root(comm, lambda: check_writable(**files))  # collective
    checkpoint, warnings = on_root(
        comm, lambda: read_run(config.run, config.checkpoint_dir)
    )  # collective
    device = choose_device(config.device, comm.local_rank)
    named = {"env": config.env, "env_kwargs": config.env_kwargs}
    agent = agent_from_checkpoint(checkpoint, device, config.precision, named)
    if comm.is_root:
        for warning in warnings:
            print(warning)
    if not agent.has_levels:
        names = ["train"]
    elif config.levels == "both":
        # Who trained on all levels has no held-out ones; fresh levels are the same as any.
        names = ["train", "test"] if agent.config.procgen.num_levels else ["test"]
    else:
        names = [config.levels]
    results = []
    for name in names:
        levels, episodes = playing_order(agent, name, config)
        result = evaluate_agent(
            agent, levels, episodes, config.seed, config.greedy, config.num_envs, comm
        )  # collective
        results.append(replace(result, levels=name))
    on_root(comm, lambda: report(agent, config, results))  # collective
    return 0
