"""Observations and actions as values of Gymnasium's spaces, and as rows of this package.

Axes: B environments; F features; K columns of an action; H, W, C image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_spaces import (
    flat_observation,
    gym_actions,
    inner_spaces,
    leaves,
)
from ppo_mpi.envs.spaces import (
    ActionSpec,
    Box,
    Composite,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    ObservationSpec,
)


class Spaces:
    """What an environment shows and takes: its own Gymnasium spaces, or those of its specs."""

    def __init__(self, envs: VecEnvs) -> None:
        """Take the spaces of environments, of which there may be none."""
        self._obs_spec, self._action_spec = envs.obs_spec, envs.action_spec
        own = envs.gym_spaces
        self.observations, self.actions = own or (
            observation_space(envs.obs_spec), action_space(envs.action_spec)
        )  # fmt: skip

    def shown(self, row: np.ndarray) -> Any:
        """Return an observation's value in its space, from its row as ``VecEnvs`` give it."""
        from gymnasium.spaces.utils import unflatten

        spec, space = self._obs_spec, self.observations
        if spec.is_image:
            ((_, leaf, _),) = leaves(space, None)
            return _nested(space, iter([row.reshape(leaf.shape)]))
        if not spec.parts:
            return unflatten(space, row)
        parts = spec.unpack(row[None])
        found = [
            own[0].reshape(leaf.shape) if part.is_image else unflatten(leaf, own[0])
            for part, own, (_, leaf, _) in zip(
                spec.parts, parts.values(), leaves(space, None), strict=True
            )
        ]
        return _nested(space, iter(found))

    def rows(self, obs: Any) -> tuple[np.ndarray, bool]:
        """Return the rows [B, ...] of observations as ``VecEnvs`` give them.

        Args:
            obs: a value of the space, or B of them (each array with B in front); or rows.

        Returns:
            the rows, and whether there were B observations instead of one.

        Raises:
            ValueError: the observation fits neither the space nor the rows, or there is none.
        """
        number = self._number(obs)
        if number == 0 or (number is None and isinstance(obs, np.ndarray) and not len(obs)):
            raise ValueError(
                f"there are no observations in {_described(obs)}; hand over one at least, of "
                f"{self.observations}"
            )
        if number is not None and number < 0:
            return flat_observation(self.observations, self._obs_spec, obs)[None], False
        if number is not None:
            values = [_picked(self.observations, obs, i) for i in range(number)]
            own = [flat_observation(self.observations, self._obs_spec, value) for value in values]
            return np.stack(own), True
        spec, given = self._obs_spec, np.asarray(obs) if isinstance(obs, np.ndarray) else None
        if given is not None and given.shape[-len(spec.shape) :] == spec.shape:
            is_batch = given.ndim == len(spec.shape) + 1
            if is_batch or given.ndim == len(spec.shape):
                rows = np.asarray(given if is_batch else given[None], spec.dtype)
                return rows, is_batch
        raise ValueError(
            f"the observation {_described(obs)} is neither one of {self.observations} nor several "
            "of them, with their number in front of each shape"
        )

    def taken(self, actions: Sequence[Any]) -> np.ndarray:
        """Return B actions of the space as ``VecEnvs`` take them: [B] or [B, K]."""
        spec = self._action_spec
        columns = []
        for action in actions:
            own = []
            for _, leaf, value in leaves(self.actions, action):
                start = np.ravel(getattr(leaf, "start", 0))
                own.append(np.ravel(np.asarray(value, np.float64)) - start)
            columns.append(np.concatenate(own))
        rows = np.stack(columns).astype(spec.dtype)
        return rows if spec.action_shape else rows[:, 0]

    def checked(self, action: Any, may_exceed: bool = False) -> np.ndarray:
        """Return an action, [] or [K], as ``VecEnvs`` take it.

        Args:
            action: a value of the space.
            may_exceed: whether numbers may be beyond their bounds, which suites see to.

        Raises:
            ValueError: it is none of the space.
        """
        try:
            found = list(leaves(self.actions, action))
            fits = all(_is_of(leaf, own, may_exceed) for _, leaf, own in found)
        except (KeyError, IndexError, TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"the action {action!r} is none of {self.actions}")
        return np.asarray(self.taken([action])[0])

    def actions_of(self, rows: np.ndarray) -> list[Any]:
        """Return the actions [B] or [B, K] as values of the space, within its bounds."""
        return gym_actions(self.actions, rows)

    def together(self, actions: Sequence[Any], space: Any = None) -> Any:
        """Return B actions as one value, each array with B in front."""
        inner = inner_spaces(self.actions if space is None else space)
        if inner is None:
            return np.stack([np.asarray(action) for action in actions])
        found = {
            key: self.together([action[key] for action in actions], own)
            for key, own in inner.items()
        }
        return found if isinstance(actions[0], dict) else tuple(found.values())

    def _number(self, obs: Any) -> int | None:
        """Return how many observations there are; -1 = one by itself, None = it does not fit."""
        try:
            found = [
                _leaf_number(leaf, np.asarray(value))
                for _, leaf, value in leaves(self.observations, obs)
            ]
        except (KeyError, IndexError, TypeError):
            return None
        return found[0] if len(set(found)) == 1 else None


def observation_space(spec: ObservationSpec) -> Any:
    """Return the Gymnasium space of observations that have none of their own."""
    from gymnasium import spaces

    def single(shape: tuple[int, ...]) -> Any:
        if len(shape) == 3:
            return spaces.Box(0, 255, shape, np.uint8)
        return spaces.Box(-np.inf, np.inf, shape, np.float32)

    if spec.parts:
        return spaces.Dict({part.name: single(part.shape) for part in spec.parts})
    return single(spec.shape)


def action_space(spec: ActionSpec) -> Any:
    """Return the Gymnasium space of actions that have none of their own."""
    from gymnasium import spaces

    if isinstance(spec, Composite):
        return spaces.Tuple([action_space(part) for part in spec.parts])
    if isinstance(spec, Discrete):
        return spaces.Discrete(spec.num_actions)
    if isinstance(spec, MultiDiscrete):
        return spaces.MultiDiscrete([*spec.nums])
    if isinstance(spec, MultiBinary):
        return spaces.MultiBinary(spec.size)
    assert isinstance(spec, Box), f"{spec} is no kind of action"
    low, high = np.array(spec.low, np.float32), np.array(spec.high, np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def _nested(space: Any, found: Any) -> Any:
    """Return the leaves, in order, nested as the space has them."""
    inner = inner_spaces(space)
    if inner is None:
        return next(found)
    values = {key: _nested(own, found) for key, own in inner.items()}
    return values if hasattr(space, "items") else tuple(values.values())


def _picked(space: Any, obs: Any, index: int) -> Any:
    """Return one of several observations."""
    inner = inner_spaces(space)
    if inner is None:
        return np.asarray(obs)[index]
    values = {key: _picked(own, obs[key], index) for key, own in inner.items()}
    return values if hasattr(space, "items") else tuple(values.values())


def _leaf_number(leaf: Any, value: np.ndarray) -> int | None:
    from gymnasium.spaces import Discrete as GymDiscrete

    if isinstance(leaf, GymDiscrete) and value.dtype.kind not in "iu":
        return None
    if value.shape == leaf.shape:
        return -1
    return len(value) if value.ndim and value.shape[1:] == leaf.shape else None


def _is_of(leaf: Any, action: Any, may_exceed: bool) -> bool:
    """Return whether an action is of a space without others inside; ``Spaces.checked``."""
    if not hasattr(leaf, "low"):
        return bool(leaf.contains(action))
    own = np.asarray(action, leaf.dtype)  # numbers of another kind stand for its own
    if may_exceed:
        return bool(own.shape == leaf.shape and np.isfinite(own).all())
    return bool(leaf.contains(own))


def _described(obs: Any) -> str:
    if isinstance(obs, dict):
        return "{" + ", ".join(f"{key}: {_described(own)}" for key, own in obs.items()) + "}"
    if isinstance(obs, tuple):
        return "(" + ", ".join(map(_described, obs)) + ")"
    found = np.asarray(obs)
    return f"{found.dtype}{list(found.shape)}"
