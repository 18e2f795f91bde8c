"""What an environment shows and takes, as numbers in one array for each.

Axes: N environments or samples; H, W, C image; F numbers of a vector; K columns of an action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

ROW_BYTES = 16
"""Rows of packed observations begin at multiples of it, so that their numbers can be viewed."""


@dataclass(frozen=True)
class ObservationPart:
    """One part of a packed observation: an image [H, W, C] uint8, or a vector [F] float32."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def is_image(self) -> bool:
        """Whether the part is an image."""
        return len(self.shape) == 3

    @property
    def num_bytes(self) -> int:
        """What it takes of a row."""
        return math.prod(self.shape) * (1 if self.is_image else 4)


@dataclass(frozen=True)
class ObservationSpec:
    """What one environment shows: an image [H, W, C] uint8, or a vector [F] float32.

    Or images and vectors together, packed into one row of bytes: first the numbers of all
    vectors, then the images; zeros fill the row up.
    """

    shape: tuple[int, ...]
    dtype: str
    parts: tuple[ObservationPart, ...] = ()
    """Of a packed observation, in the space's own order; empty for the others."""

    @classmethod
    def packed(cls, parts: Sequence[ObservationPart]) -> ObservationSpec:
        """Return the spec of rows that hold these parts."""
        size = sum(part.num_bytes for part in parts)
        return cls((-(-size // ROW_BYTES) * ROW_BYTES,), "uint8", tuple(parts))

    @property
    def is_image(self) -> bool:
        """Whether observations are images and nothing else."""
        return len(self.shape) == 3

    @property
    def has_images(self) -> bool:
        """Whether there are images in an observation."""
        return self.is_image or any(part.is_image for part in self.parts)

    @property
    def vector_size(self) -> int:
        """F, how many numbers an observation has beside its images."""
        if self.parts:
            return sum(math.prod(part.shape) for part in self.parts if not part.is_image)
        return 0 if self.is_image else math.prod(self.shape)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Where in a row the bytes of each part begin, in the order of ``parts``."""
        ends = {False: 0, True: 4 * self.vector_size}
        places = []
        for part in self.parts:
            places.append(ends[part.is_image])
            ends[part.is_image] += part.num_bytes
        return tuple(places)

    def vectors(self, obs: np.ndarray) -> np.ndarray:
        """Return the numbers of observations [N, ...] beside their images, as a view.

        Returns:
            [N, F] float32 of packed observations; vectors as they are; [N, 0] of images.
        """
        if self.parts:
            return obs[:, : 4 * self.vector_size].view(np.float32)
        return np.empty((len(obs), 0), np.float32) if self.is_image else obs

    def picture(self, obs: np.ndarray) -> np.ndarray:
        """Return the first image of one packed observation [bytes]; others as they are."""
        images = [part.name for part in self.parts if part.is_image]
        return self.unpack(obs[None])[images[0]][0] if images else obs

    def pack(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Return the row [bytes] uint8 that holds one environment's parts, in their order."""
        row = np.zeros(self.shape, np.uint8)
        for part, place, value in zip(self.parts, self.places, values, strict=True):
            numbers = np.ascontiguousarray(value, part.dtype).reshape(-1)
            row[place : place + part.num_bytes] = numbers.view(np.uint8)
        return row

    def unpack(self, obs: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parts of packed observations [N, bytes] by name, [N, ...] each, as views."""
        return {
            part.name: obs[:, place : place + part.num_bytes]
            .view(part.dtype)
            .reshape(len(obs), *part.shape)
            for part, place in zip(self.parts, self.places, strict=True)
        }


@dataclass(frozen=True)
class Discrete:
    """One of ``num_actions`` actions, a whole number from 0."""

    num_actions: int
    dtype: ClassVar[str] = "int64"
    action_shape: ClassVar[tuple[int, ...]] = ()
    noise_size: ClassVar[int] = 1
    num_reals: ClassVar[int] = 0

    @property
    def num_outputs(self) -> int:
        """Numbers that the policy head gives."""
        return self.num_actions


@dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once: for each, a whole number from 0 and below its ``nums``."""

    nums: tuple[int, ...]
    dtype: ClassVar[str] = "int64"
    num_reals: ClassVar[int] = 0

    @property
    def num_outputs(self) -> int:
        """Numbers that the policy head gives: those of one choice after the other."""
        return sum(self.nums)

    @property
    def noise_size(self) -> int:
        """Random numbers behind an action."""
        return len(self.nums)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """[K], one whole number for each choice."""
        return (len(self.nums),)


@dataclass(frozen=True)
class MultiBinary:
    """``size`` switches, each 0 or 1."""

    size: int
    dtype: ClassVar[str] = "int64"
    num_reals: ClassVar[int] = 0

    @property
    def num_outputs(self) -> int:
        """Numbers that the policy head gives: one for each switch."""
        return self.size

    @property
    def noise_size(self) -> int:
        """Random numbers behind an action."""
        return self.size

    @property
    def action_shape(self) -> tuple[int, ...]:
        """[K], one number for each switch."""
        return (self.size,)


@dataclass(frozen=True)
class Box:
    """A vector of ``len(low)`` numbers; each lies in [low, high] (which may be infinite)."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: ClassVar[str] = "float32"

    @property
    def num_outputs(self) -> int:
        """Numbers that the policy head gives: the means."""
        return len(self.low)

    @property
    def noise_size(self) -> int:
        """Random numbers behind an action."""
        return len(self.low)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """[K], the numbers."""
        return (len(self.low),)

    @property
    def num_reals(self) -> int:
        """Numbers of an action that are not whole: each has a deviation that is learned."""
        return len(self.low)


SingleSpec = Discrete | MultiDiscrete | MultiBinary | Box


@dataclass(frozen=True)
class Composite:
    """Actions of several spaces at once, nested ones flattened in their own order.

    An action is the parts' columns side by side, [K] float32: there whole numbers are exact up to
    16,777,216.
    """

    parts: tuple[SingleSpec, ...]
    dtype: ClassVar[str] = "float32"

    @property
    def num_outputs(self) -> int:
        """Numbers that the policy head gives."""
        return sum(part.num_outputs for part in self.parts)

    @property
    def noise_size(self) -> int:
        """Random numbers behind an action."""
        return sum(part.noise_size for part in self.parts)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """[K], the parts' columns side by side."""
        return (sum(map(num_columns, self.parts)),)

    @property
    def num_reals(self) -> int:
        """Numbers of an action that are not whole."""
        return sum(part.num_reals for part in self.parts)


ActionSpec = Discrete | MultiDiscrete | MultiBinary | Box | Composite
"""What one environment takes. Each has

- ``action_shape`` and ``dtype`` of an action in a rollout,
- ``num_outputs`` of the policy head behind it,
- ``noise_size``, random numbers that make an action of them,
- ``num_reals``, how many of an action's numbers are no whole ones.
"""


def num_columns(spec: ActionSpec) -> int:
    """Return K, how many numbers an action has."""
    return math.prod(spec.action_shape)


def clipped(spec: ActionSpec, actions: np.ndarray) -> np.ndarray:
    """Return actions [N, ...] with the numbers of boxes clipped to their bounds."""
    if isinstance(spec, Box):
        return np.clip(actions, spec.low, spec.high)
    if not isinstance(spec, Composite):
        return actions
    return np.concatenate([clipped(part, own) for part, own in columns_of(spec, actions)], axis=1)


def columns_of(spec: Composite, actions: np.ndarray) -> list[tuple[SingleSpec, np.ndarray]]:
    """Return each part with its columns [N, k] of actions [N, K], as views."""
    ends = np.cumsum([num_columns(part) for part in spec.parts])[:-1]
    return list(zip(spec.parts, np.split(actions, ends, axis=1), strict=True))
