"""The mode record with --trajectories: whole episodes of an agent as arrays in a file.

Axes: B environments on this rank; N steps; K episodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import ppo_mpi
from ppo_mpi.agent import Agent, agent_from_checkpoint, read_run
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.machine import choose_device, set_threads
from ppo_mpi.envs.spaces import clipped
from ppo_mpi.errors import FailedEnvironmentError
from ppo_mpi.modes.evaluation_plan import num_places
from ppo_mpi.modes.playing import play_episodes
from ppo_mpi.modes.steps import Step, Watcher
from ppo_mpi.settings.record import RecordConfig
from ppo_mpi.storage.durable import on_root
from ppo_mpi.storage.trajectories import (
    Trajectories,
    check_free,
    describe_actions,
    describe_observations,
    write_trajectories,
)

NUM_ENVS = 32
"""Environments stepped at once, over all ranks; changes the speed, not the result."""


@dataclass
class Episode:
    """An episode that is being played, or over: a list of what each step brought."""

    number: int
    obs: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    level: int = -1
    final: np.ndarray | None = None
    """What the last step led to, where the suite knows it."""


def trajectories_command(config: RecordConfig, comm: Communicator) -> int:
    """Write trajectories of a run's agent, and say where. Collective.

    Returns:
        the exit status, 0.

    Raises:
        CheckpointError: there is no such run, or no whole checkpoint.
        ConfigError: the file exists, or a setting does not fit.
    """
    set_threads(config.threads, comm.node_affinities, comm.local_rank)
    checkpoint, warnings = on_root(
        comm, lambda: read_run(config.run, config.checkpoint_dir)
    )  # collective
    device = choose_device(config.device, comm.local_rank)
    named = {"env": config.env, "env_kwargs": config.env_kwargs}
    agent = agent_from_checkpoint(checkpoint, device, "float32", named)
    agent = agent.seeing(config.corruption, config.corruption_severity)
    if len(agent.games) > 1:
        agent = agent.shown_in(agent.games[0])
    path = output_path(agent, config)
    on_root(comm, lambda: check_free(path, config.clobber))  # collective
    if comm.is_root:
        for note in (*warnings, agent.note, *config.without_effect()):
            if note:
                print(note)
    found = collect_trajectories(agent, config, comm)  # collective

    def write() -> str:
        assert found is not None, "rank 0 has gathered them"
        write_trajectories(path, found, config.clobber)
        return (
            f"wrote {path}: {found.num_episodes} episodes, {len(found.rewards):,} steps, mean "
            f"return {found.returns.mean():,.1f}"
        )

    text = on_root(comm, write)  # collective
    if comm.is_root:
        print(text)
    return 0


def output_path(agent: Agent, config: RecordConfig) -> Path:
    """Return the file: what ``output`` names, or a name by run and timesteps in its folder."""
    if config.output.lower().endswith(".npz"):
        return Path(config.output)
    folder = Path(config.output) if config.output else agent.assets_in(config.asset_dir)
    return folder / f"{agent.run_name}-{agent.timesteps}-trajectories.npz"


def collect_trajectories(
    agent: Agent, config: RecordConfig, comm: Communicator
) -> Trajectories | None:
    """Play the episodes, split over the ranks. Collective; the result is on rank 0 only.

    Args:
        agent: the same on every rank.
        config: ``trajectories``, ``levels``, ``greedy`` and ``seed`` count.
        comm: the job.

    Raises:
        FailedEnvironmentError: an environment raised in every episode.
    """
    num_slots = num_places(agent, config.trajectories, NUM_ENVS)
    numbers = [list(range(slot, config.trajectories, num_slots)) for slot in comm.shard(num_slots)]
    own = play(agent, numbers, config, comm.heart)
    parts = comm.gather_objects(own)  # collective
    played = sorted((e for part in parts or [] for e in part), key=lambda e: e.number)
    if comm.any(comm.is_root and not played):  # collective
        raise FailedEnvironmentError(
            f"{agent.config.environment.env} raised in every episode; mend it"
        )
    return joined(agent, played, config) if played else None


def play(
    agent: Agent, numbers: list[list[int]], config: RecordConfig, heart: Heart
) -> list[Episode]:
    """Play this rank's episodes; no communication.

    Args:
        agent: who plays.
        numbers: for each slot, the numbers of its episodes in order; none may be empty.
        config: levels, seed, and whether the most likely actions are taken.
        heart: of this rank.

    Returns:
        the episodes; without those in which an environment raised, where that is let pass.

    Raises:
        NonFiniteError: a reward or an observation is NaN or infinite.
    """
    spec = agent.model.action_spec
    episodes: dict[int, Episode] = {}

    def note(step: Step) -> None:
        episode = episodes.setdefault(step.episode, Episode(step.episode))
        episode.obs.append(np.array(step.observation))
        episode.actions.append(clipped(spec, step.action[None])[0])
        episode.rewards.append(step.reward)
        episode.terminated = step.terminated
        episode.level = step.level
        episode.final = step.final_observation

    watcher = Watcher(callback=note)
    played = play_episodes(
        agent, numbers, config.levels, config.seed, config.greedy, heart, watcher
    )
    return [episodes[own.episode] for own in played]


def joined(agent: Agent, played: list[Episode], config: RecordConfig) -> Trajectories:
    """Return the episodes, in the order of their numbers, as arrays."""
    spec, action_spec = agent.model.obs_spec, agent.model.action_spec
    lengths = [len(e.rewards) for e in played]
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    last = bounds[1:] - 1
    terminated = np.zeros(bounds[-1], bool)
    terminated[last] = [e.terminated for e in played]
    truncated = np.zeros(bounds[-1], bool)
    truncated[last] = [not e.terminated for e in played]
    unknown = np.zeros(spec.shape, spec.dtype)
    finals = [unknown if e.final is None else e.final for e in played]
    return Trajectories(
        observations=np.stack([x for e in played for x in e.obs]).astype(spec.dtype),
        actions=np.stack([x for e in played for x in e.actions]).astype(action_spec.dtype),
        rewards=np.array([x for e in played for x in e.rewards], np.float32),
        terminated=terminated,
        truncated=truncated,
        episode_bounds=bounds,
        final_observations=np.stack(finals).astype(spec.dtype),
        final_known=np.array([e.final is not None for e in played]),
        metadata=facts(agent, played, config),
    )


def facts(agent: Agent, played: list[Episode], config: RecordConfig) -> dict[str, Any]:
    """Return what is to be known of trajectories, as JSON has it; nothing of it has a clock."""
    environment = agent.config.environment
    return {
        "env": environment.env,
        "env_kwargs": list(environment.env_kwargs),
        "observation_space": describe_observations(agent.model.obs_spec),
        "action_space": describe_actions(agent.model.action_spec),
        "run": agent.run_name,
        "checkpoint": agent.checkpoint.name,
        "timesteps": agent.timesteps,
        "seed": config.seed,
        "greedy": config.greedy,
        "level_set": config.levels,
        "episodes": [e.number for e in played],
        "levels": [e.level for e in played],
        "ppo_mpi": ppo_mpi.__version__,
    }
