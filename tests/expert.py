"""Experts made up for tests, and files that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppo_mpi.envs.spaces import ActionSpec, Discrete, ObservationSpec
from ppo_mpi.storage.trajectories import (
    Trajectories,
    describe_actions,
    describe_observations,
    write_trajectories,
)

VECTOR = ObservationSpec((3,), "float32")


def trajectories(
    lengths: tuple[int, ...] = (4, 1, 6),
    obs_spec: ObservationSpec = VECTOR,
    action_spec: ActionSpec = Discrete(3),
    seed: int = 0,
) -> Trajectories:
    """Return episodes of noise; every other one is cut short."""
    random, num = np.random.default_rng(seed), sum(lengths)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    last = np.isin(np.arange(num), bounds[1:] - 1)
    cut = np.isin(np.arange(num), bounds[2::2] - 1)
    size = (num + len(lengths), *obs_spec.shape)
    obs = random.integers(0, 256, size) if obs_spec.dtype == "uint8" else random.normal(size=size)
    obs = obs.astype(obs_spec.dtype)
    actions = random.integers(0, 3, (num, *action_spec.action_shape)).astype(action_spec.dtype)
    return Trajectories(
        obs[:num], actions, random.normal(size=num).astype(np.float32), last & ~cut, cut, bounds,
        obs[num:], np.array([i % 2 == 0 for i in range(len(lengths))]),
        {"env": "made", "observation_space": describe_observations(obs_spec),
         "action_space": describe_actions(action_spec)},
    )  # fmt: skip


def write_contrary_expert(path: Path, steps: int = 200) -> None:
    """Write an expert of probe:match that does what the environment pays nothing for.

    Where the goal is g it chooses g + 1, of 3.
    """
    goals = np.random.default_rng(1).integers(0, 3, steps)
    obs = np.eye(3, dtype=np.float32)[goals]
    own = trajectories((10,) * (steps // 10))
    found = Trajectories(
        obs, (goals + 1) % 3, np.zeros(steps, np.float32), own.terminated, own.truncated,
        own.episode_bounds, own.final_observations, own.final_known, {},
    )  # fmt: skip
    write_trajectories(path, found, clobber=False)
