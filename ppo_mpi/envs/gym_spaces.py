"""Gymnasium's spaces in this package's terms, and back.

Axes: B environments on this rank; K columns of an action.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ppo_mpi.envs.spaces import (
    ActionSpec,
    Box,
    Composite,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    ObservationPart,
    ObservationSpec,
    SingleSpec,
)
from ppo_mpi.errors import ConfigError


class MisfitError(ValueError):
    """An observation that its space does not have; says of which shape it is."""


def observation_spec(env_id: str, space: Any) -> ObservationSpec:
    """Return how the observations of a Gymnasium space are shown.

    Images [H, W, C] and [H, W] of uint8 are images. Everything else is flattened into one vector,
    unless there are images inside a ``Dict`` or a ``Tuple``: then both are packed.

    Raises:
        ConfigError: observations of that space have no fixed length, or are no numbers.
    """
    from gymnasium import spaces

    parts = []
    for name, leaf, _ in leaves(space, None):
        image = _image_shape(leaf)
        if image is not None:
            parts.append(ObservationPart(name, image, "uint8"))
            continue
        known = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
        if not isinstance(leaf, known):
            raise ConfigError(
                f"{env_id} has the observation space {space}, which is no vector of fixed length; "
                "use an environment whose observations are vectors or images (Box, Discrete, "
                "MultiDiscrete, MultiBinary, and Dict or Tuple of them)"
            )
        parts.append(ObservationPart(name, (spaces.utils.flatdim(leaf),), "float32"))
    if len(parts) == 1 and parts[0].is_image:
        return ObservationSpec(parts[0].shape, "uint8")
    if any(part.is_image for part in parts):
        return ObservationSpec.packed(parts)
    size = sum(math.prod(part.shape) for part in parts)
    if not size:
        raise ConfigError(
            f"{env_id} has the observation space {space}, which shows nothing; use an environment "
            "whose observations have at least one number"
        )
    return ObservationSpec((size,), "float32")


def flat_observation(space: Any, spec: ObservationSpec, obs: Any) -> np.ndarray:
    """Return an observation of a Gymnasium space as ``spec`` has it.

    Raises:
        MisfitError: an image in it has another shape than its space, or a vector another size.
    """
    from gymnasium.spaces.utils import flatten

    if not spec.parts:
        if spec.is_image:
            ((_, leaf, image),) = leaves(space, obs)
            return _fitting(image, "", leaf.shape, spec.shape).reshape(spec.shape)
        return _fitting(np.asarray(flatten(space, obs), np.float32), "", spec.shape)
    values = [
        _fitting(value, part.name, leaf.shape, part.shape)
        if part.is_image
        else _fitting(flatten(leaf, value), part.name, part.shape)
        for part, (_, leaf, value) in zip(spec.parts, leaves(space, obs), strict=True)
    ]
    return spec.pack(values)


def _fitting(value: Any, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
    """Return a value as an array, if it has one of the shapes."""
    # numpy would repeat a single number, and take [C, H, W] for [H, W, C], without a word.
    array = np.asarray(value)
    if array.shape in shapes:
        return array
    size = f"{array.size} numbers" if len(shapes) == 1 else f"shape {array.shape}"
    raise MisfitError(f"of {size} in {name!r}" if name else f"of {size}")


def action_spec(env_id: str, space: Any) -> ActionSpec:
    """Return the actions of a Gymnasium space.

    Raises:
        ConfigError: the space, or one inside it, is none of ``Discrete``, ``MultiDiscrete``,
            ``MultiBinary`` and a ``Box`` of real numbers.
    """
    from gymnasium import spaces

    found = [_single_action_spec(leaf) for _, leaf, _ in leaves(space, None)]
    parts = tuple(spec for spec in found if spec is not None)
    if not found or len(parts) < len(found):
        raise ConfigError(
            f"{env_id} has the action space {space}; use an environment with actions that are "
            "Discrete, MultiDiscrete, MultiBinary, a Box of real numbers, or a Dict or Tuple of "
            "them"
        )
    return Composite(parts) if isinstance(space, (spaces.Dict, spaces.Tuple)) else parts[0]


def gym_actions(space: Any, actions: np.ndarray) -> list[Any]:
    """Return each environment's action as it takes it: in its space, numbers clipped to bounds.

    Args:
        space: a Gymnasium space.
        actions: [B] or [B, K], of the shape and dtype that ``action_spec(space)`` says.
    """
    return _gym_actions(space, actions[:, None] if actions.ndim == 1 else actions)


def _gym_actions(space: Any, columns: np.ndarray) -> list[Any]:
    """Return B actions from their columns [B, k]."""
    from gymnasium import spaces

    inner = inner_spaces(space)
    if inner is not None:
        ends = np.cumsum([_num_columns(own) for own in inner.values()])[:-1]
        each = [
            _gym_actions(own, part)
            for own, part in zip(inner.values(), np.split(columns, ends, axis=1), strict=True)
        ]
        together = zip(*each, strict=True)
        if isinstance(space, spaces.Tuple):
            return list(together)
        return [dict(zip(inner, values, strict=True)) for values in together]
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return [start + int(action) for action in columns[:, 0].tolist()]
    if isinstance(space, spaces.Box):
        low, high = space.low.ravel(), space.high.ravel()
        columns = np.minimum(np.maximum(columns, low), high)
    elif isinstance(space, spaces.MultiDiscrete):
        columns = columns.astype(np.int64) + np.ravel(space.start)
    return [row.reshape(space.shape) for row in columns.astype(space.dtype)]


def leaves(space: Any, value: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, space, value) of all spaces inside, in their own order.

    Args:
        space: a Gymnasium space.
        value: of it; None if only the spaces are wanted.
        name: of the space.
    """
    inner = inner_spaces(space)
    if inner is None:
        yield name, space, value
        return
    for key, own in inner.items():
        below = f"{name}/{key}" if name else str(key)
        yield from leaves(own, None if value is None else value[key], below)


def inner_spaces(space: Any) -> dict[Any, Any] | None:
    """Return the spaces inside a ``Dict`` or a ``Tuple`` by key; None for others."""
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return dict(space.spaces)
    return dict(enumerate(space.spaces)) if isinstance(space, spaces.Tuple) else None


def _image_shape(space: Any) -> tuple[int, ...] | None:
    """Return [H, W, C] of a space of images; None if it is none."""
    from gymnasium import spaces

    if not (isinstance(space, spaces.Box) and space.dtype == np.uint8):
        return None
    if len(space.shape) == 2:
        return (*map(int, space.shape), 1)
    return tuple(map(int, space.shape)) if len(space.shape) == 3 else None


def _single_action_spec(space: Any) -> SingleSpec | None:
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return MultiDiscrete(tuple(map(int, np.ravel(space.nvec))))
    if isinstance(space, spaces.MultiBinary):
        return MultiBinary(math.prod(space.shape))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return Box(tuple(map(float, space.low.ravel())), tuple(map(float, space.high.ravel())))
    return None


def _num_columns(space: Any) -> int:
    """Return how many columns of an action a space has."""
    return sum(math.prod(leaf.shape) for _, leaf, _ in leaves(space, None))
