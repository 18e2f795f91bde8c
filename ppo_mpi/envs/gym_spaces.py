"""Gymnasium's spaces in this package's terms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppo_mpi.envs.base import ActionSpec, Box, Discrete, ObservationSpec
from ppo_mpi.errors import ConfigError


def observation_spec(env_id: str, space: Any) -> ObservationSpec:
    """Return how the observations of a Gymnasium space are shown.

    Raises:
        ConfigError: observations of that space have no fixed length.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        return ObservationSpec(tuple(space.shape), "uint8")
    if not space.is_np_flattenable:
        raise ConfigError(
            f"{env_id} has the observation space {space}, which is no vector of fixed length; "
            "use an environment whose observations are vectors or images"
        )
    return ObservationSpec((spaces.utils.flatdim(space),), "float32")


def action_spec(env_id: str, space: Any) -> ActionSpec:
    """Return the actions of a Gymnasium space.

    Raises:
        ConfigError: the space is neither ``Discrete`` nor a ``Box`` of real numbers.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        size = math.prod(space.shape)
        low, high = space.low.reshape(size), space.high.reshape(size)
        return Box(tuple(map(float, low)), tuple(map(float, high)))
    raise ConfigError(
        f"{env_id} has the action space {space}; use an environment with Discrete actions or "
        "a Box of real numbers"
    )
