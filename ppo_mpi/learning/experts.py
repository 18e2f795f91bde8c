"""The expert's steps that a run learns from: read once, checked against the run's spaces, chosen.

Axes: N steps, episode after episode; K episodes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.spaces import (
    ActionSpec,
    Box,
    Composite,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    ObservationSpec,
    clipped,
    columns_of,
)
from ppo_mpi.errors import ConfigError
from ppo_mpi.seeding import generator
from ppo_mpi.settings.imitation import ImitationConfig
from ppo_mpi.storage.durable import on_root
from ppo_mpi.storage.expert_data import ExpertEpisodes, read_expert
from ppo_mpi.storage.trajectories import describe_observations


@dataclass(frozen=True)
class Expert:
    """What an expert saw and did, in the run's spaces."""

    obs: np.ndarray
    """[N, ...] as the environments show it, before any normalizer."""
    actions: np.ndarray
    """[N, ...] as the environments take them, of the space's dtype and within its bounds."""
    bounds: np.ndarray
    """[K + 1] int64: episode k has the steps bounds[k] up to, but without, bounds[k + 1]."""
    identity: str
    """SHA-256 of all of it, in hexadecimal."""
    summary: str
    """What it is, in words."""

    def __len__(self) -> int:
        return len(self.actions)


def load_expert(
    config: ImitationConfig,
    seed: int,
    obs_spec: ObservationSpec,
    action_spec: ActionSpec,
    comm: Communicator,
    expected: str = "",
) -> Expert:
    """Read the expert's data on rank 0 and give it to all. Collective.

    Args:
        config: says what is read and how much of it.
        seed: the job's.
        obs_spec: the run's observations.
        action_spec: the run's actions.
        comm: the job.
        expected: the identity of the data with which the run began; "" for a new one.

    Raises:
        ConfigError: it cannot be read, does not fit the spaces, or is not what was expected.
    """

    def load() -> Expert:
        expert = chosen(read_expert(config.expert_data), config, seed, obs_spec, action_spec)
        if expected and expert.identity != expected:
            raise ConfigError(
                f"expert_data={config.expert_data} is not what the run began with (its SHA-256 "
                f"begins with {expert.identity[:12]}, not {expected[:12]}); name the file of then, "
                "or use another --run"
            )
        return expert

    return on_root(comm, load)  # collective


def chosen(
    episodes: ExpertEpisodes,
    config: ImitationConfig,
    seed: int,
    obs_spec: ObservationSpec,
    action_spec: ActionSpec,
) -> Expert:
    """Return what is learned from: the first episodes, every so many-th step.

    Arguments and errors are those of ``load_expert``.
    """
    name, bounds = config.expert_data, episodes.bounds
    available, num = len(bounds) - 1, config.expert_episodes or len(bounds) - 1
    if num > available:
        raise ConfigError(
            f"expert_episodes={num}, but {name} has {available}; use {available}, or 0 for all"
        )
    obs = _checked_observations(episodes, obs_spec, name)
    actions = _checked_actions(episodes.actions, action_spec, name)
    every, rows = config.expert_subsample, []
    for k in range(num):
        begin, end = int(bounds[k]), int(bounds[k + 1])
        latest = min(every, end - begin)
        first = int(generator(seed, "expert subsample", k).integers(latest))
        rows.append(np.arange(begin + first, end, every))
    taken = np.concatenate(rows)
    own_bounds = np.concatenate([[0], np.cumsum([len(own) for own in rows])]).astype(np.int64)
    steps = int(bounds[num])
    summary = f"{num} episode{'s' * (num > 1)} of {steps:,} steps from {name}"
    if every > 1:
        summary += f", every {every}th step: {len(taken):,}"
    if episodes.rewards is not None:
        summary += f"; mean return {float(episodes.rewards[:steps].sum()) / num:,.1f}"
    obs, actions = obs[taken], actions[taken]
    return Expert(obs, actions, own_bounds, _identity(obs, actions, own_bounds), summary)


def _identity(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of arrays, their shapes and types."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _checked_observations(episodes: ExpertEpisodes, spec: ObservationSpec, name: str) -> np.ndarray:
    """Return observations [N, ...] of the space's dtype.

    Raises:
        ConfigError: they are of another space, or not finite.
    """
    obs = episodes.observations
    told = episodes.metadata.get("observation_space", describe_observations(spec))
    if obs.shape[1:] != spec.shape or told != describe_observations(spec):
        raise ConfigError(
            f"expert_data={name} has observations of {obs.shape[1:]} {obs.dtype}, but the "
            f"environment shows {spec}; use data of the same environment"
        )
    is_bytes = spec.dtype == "uint8"
    if obs.dtype.kind not in ("u" if is_bytes else "biuf") or (is_bytes and obs.dtype != np.uint8):
        raise ConfigError(f"expert_data={name} has observations of {obs.dtype}, not {spec.dtype}")
    obs = np.ascontiguousarray(obs, spec.dtype)
    if not np.isfinite(spec.vectors(obs)).all():
        raise ConfigError(f"expert_data={name} has observations that are NaN or infinite")
    return obs


def _checked_actions(actions: np.ndarray, spec: ActionSpec, name: str) -> np.ndarray:
    """Return actions [N, ...] of the space's dtype, boxes within their bounds.

    Raises:
        ConfigError: they are of another space.
    """
    given = actions
    if spec.action_shape == () and actions.shape[1:] == (1,):
        actions = actions[:, 0]
    if actions.shape[1:] != spec.action_shape or actions.dtype.kind not in "biuf":
        raise ConfigError(
            f"expert_data={name} has actions of {given.shape[1:]} {given.dtype}, but the "
            f"environment takes {spec}; use data of the same environment"
        )
    parts = columns_of(spec, actions) if isinstance(spec, Composite) else [(spec, actions)]
    if not np.isfinite(actions).all() or not all(_are_of(part, own) for part, own in parts):
        raise ConfigError(
            f"expert_data={name} has actions that {spec} does not have; use data of the same "
            "environment"
        )
    return np.ascontiguousarray(clipped(spec, actions), spec.dtype)


def _are_of(spec: ActionSpec, actions: np.ndarray) -> bool:
    """Return whether choices and switches are whole numbers in their range."""
    if isinstance(spec, Box):
        return True
    most: int | np.ndarray = 1
    if isinstance(spec, Discrete):
        most = spec.num_actions - 1
    elif isinstance(spec, MultiDiscrete):
        most = np.array(spec.nums) - 1
    else:
        assert isinstance(spec, MultiBinary), "all kinds of spaces are known"
    is_whole = actions == np.floor(actions)
    return bool((is_whole & (actions >= 0) & (actions <= most)).all())
