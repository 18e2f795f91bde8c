"""What a probe environment is, and those whose actions or observations have several parts.

Each of these pays only if every part of the action is right, or every part of the observation was
understood. A goal is one number: its whole part says what is to be chosen, its fraction which
numbers are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
)

COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
"""What images show for 0, 1 and 2."""


@dataclass(frozen=True)
class ProbeTask:
    """What tells one probe from another."""

    obs_spec: ObservationSpec
    action_spec: ActionSpec
    draw: Callable[[np.random.Generator], float]
    """Draws the next goal."""
    show: Callable[[float], np.ndarray]
    """Makes the observation, of the shape and dtype of ``obs_spec``, from the goal."""
    reward: Callable[[float, np.ndarray], float]
    """Pays for an action, given the goal."""
    terminates: bool = False
    """Whether every step ends the episode."""
    max_steps: int = 10
    """Steps after which an episode is truncated."""
    truths: Callable[[float], Mapping[str, float]] | None = None
    """Tells what is true of a goal's observation, by name; None where nothing is told."""
    bonus: float = 0.0
    """Bonus reward of a step that was paid at all."""
    fails: bool = False
    """Whether environment 1 of the job raises in its fifth step."""


def choices(goal: float, nums: tuple[int, ...]) -> list[int]:
    """Return the whole numbers, each below its ``nums``, that a goal in [0, prod(nums)) wants."""
    return [int(choice) for choice in np.unravel_index(int(goal), nums)]


def places(goal: float, size: int) -> np.ndarray:
    """Return the numbers in [-0.8, 0.8] that a goal's fraction wants, [size] float64."""
    fractions = (goal % 1) * 8.0 ** np.arange(size) % 1
    return 1.6 * fractions - 0.8


def one_hot(chosen: list[int], nums: tuple[int, ...]) -> list[float]:
    """Return 1 for what was chosen and 0 for the others, of one choice after the other."""
    return [
        float(i == choice) for choice, num in zip(chosen, nums, strict=True) for i in range(num)
    ]


def in_bounds(box: Box, wanted: np.ndarray) -> np.ndarray:
    """Return numbers in [-1, 1] scaled to the bounds."""
    low, high = np.array(box.low), np.array(box.high)
    return low + (high - low) / 2 * (1 + wanted)


def closeness(box: Box, action: np.ndarray, wanted: np.ndarray) -> float:
    """Return 1 - d^2, at least 0; d is the distance in units of half the bounds' distance."""
    half = (np.array(box.high) - np.array(box.low)) / 2
    away = (action - in_bounds(box, wanted)) / half
    return max(0.0, 1.0 - float((away**2).sum()))


def _choosing(action_spec: ActionSpec, nums: tuple[int, ...]) -> ProbeTask:
    """Return the task of choosing several whole numbers that are shown one-hot: V as "match"."""
    return ProbeTask(
        ObservationSpec((sum(nums),), "float32"),
        action_spec,
        draw=lambda rng: int(rng.integers(int(np.prod(nums)))),
        show=lambda goal: np.array(one_hot(choices(goal, nums), nums), np.float32),
        reward=lambda goal, action: float(action.tolist() == choices(goal, nums)),
    )


def _mixed(action_spec: Composite, nums: tuple[int, ...], box: Box, first: int) -> ProbeTask:
    """Return the task of choosing numbers of which those from column ``first`` on are a box's.

    Every step pays how close those are, if all others are right, and else nothing.
    """
    columns = slice(first, first + len(box.low))

    def reward(goal: float, action: np.ndarray) -> float:
        is_right = np.delete(action, columns).tolist() == choices(goal, nums)
        return is_right * closeness(box, action[columns], places(goal, len(box.low)))

    return ProbeTask(
        ObservationSpec((sum(nums) + len(box.low),), "float32"),
        action_spec,
        draw=lambda rng: float(rng.random() * np.prod(nums)),
        show=lambda goal: np.array(
            [*one_hot(choices(goal, nums), nums), *places(goal, len(box.low))], np.float32
        ),
        reward=reward,
    )


TIGHT_BOX = Box((-0.1, 2.0), (0.1, 2.5))
"""Bounds far from the numbers that a fresh policy gives."""
TUPLE_BOX = Box((-1.0,), (1.0,))
DICT_BOX = Box((-1.0, -2.0), (1.0, 2.0))
PICTURE_AND_VECTOR = ObservationSpec.packed(
    (
        ObservationPart("picture", (8, 8, 3), "uint8"),
        ObservationPart("vector", (3,), "float32"),
    )
)


def _picture_and_vector(goal: float) -> np.ndarray:
    color, place = choices(goal, (3, 3))
    picture = np.full((8, 8, 3), COLORS[color], np.uint8)
    return PICTURE_AND_VECTOR.pack([picture, np.eye(3, dtype=np.float32)[place]])


def _beacon_truths(goal: float) -> dict[str, float]:
    """Return how far right of the second number the first one is, and on which side it is.

    The side is not known near the middle.
    """
    place = places(goal, 2)
    side = int(place[0] > 0) if abs(place[0]) > 0.2 else -1
    return {"distance": float(place[0] - place[1]), "side": side}


SPACE_TASKS: Mapping[str, ProbeTask] = {
    "multi_discrete": _choosing(MultiDiscrete((3, 2, 4)), (3, 2, 4)),
    "multi_binary": _choosing(MultiBinary(4), (2, 2, 2, 2)),
    # Two numbers near their targets: V is that of "match" less the variance that is left.
    "tight_box": ProbeTask(
        ObservationSpec((2,), "float32"),
        TIGHT_BOX,
        draw=lambda rng: float(rng.random()),
        show=lambda goal: places(goal, 2).astype(np.float32),
        reward=lambda goal, action: closeness(TIGHT_BOX, action, places(goal, 2)),
    ),
    "tuple": _mixed(
        Composite((Discrete(3), TUPLE_BOX, MultiBinary(2))), (3, 2, 2), TUPLE_BOX, first=1
    ),
    "dict": _mixed(
        Composite((MultiDiscrete((2, 3)), Discrete(2), DICT_BOX)), (2, 3, 2), DICT_BOX, first=3
    ),
    # The color and the place together tell the action: neither alone tells anything.
    "picture_and_vector": ProbeTask(
        PICTURE_AND_VECTOR,
        Discrete(3),
        draw=lambda rng: int(rng.integers(9)),
        show=_picture_and_vector,
        reward=lambda goal, action: float(int(action) == sum(choices(goal, (3, 3))) % 3),
    ),
    # The action is shown one-hot, and two numbers behind it are good for auxiliary heads only.
    "beacon": ProbeTask(
        ObservationSpec((5,), "float32"),
        Discrete(3),
        draw=lambda rng: float(rng.random() * 3),
        show=lambda goal: np.array(
            [*one_hot(choices(goal, (3,)), (3,)), *places(goal, 2)], np.float32
        ),
        reward=lambda goal, action: float(int(action) == int(goal)),
        truths=_beacon_truths,
        bonus=0.25,
    ),
}
