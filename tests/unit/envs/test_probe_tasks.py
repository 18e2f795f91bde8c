"""Probes of several parts: each pays in full for what is right in every part, and only for that."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.probe import make_envs
from ppo_mpi.envs.probe_tasks import COLORS, DICT_BOX, PICTURE_AND_VECTOR, TIGHT_BOX

# What is shown: how many numbers each choice has; behind them the wanted numbers.
NUMS = {
    "multi_discrete": (3, 2, 4),
    "multi_binary": (2,) * 4,
    "tuple": (3, 2, 2),
    "dict": (2, 3, 2),
}


def make(task: str) -> VecEnvs:
    return make_envs(task, [0, 1, 2], 0, options={})


def best_actions(task: str, obs: np.ndarray) -> np.ndarray:
    """Return the actions that pay most, read off the observations."""
    if task == "picture_and_vector":
        parts = PICTURE_AND_VECTOR.unpack(obs)
        colors = [COLORS.index(tuple(p[0, 0].tolist())) for p in parts["picture"]]
        return (np.array(colors) + parts["vector"].argmax(1)) % 3
    if task == "tight_box":
        low, high = np.array(TIGHT_BOX.low), np.array(TIGHT_BOX.high)
        return (low + (high - low) * (1 + obs) / 2).astype(np.float32)
    ends = np.cumsum(NUMS[task])
    blocks = np.split(obs, ends, axis=1)
    chosen = [block.argmax(1) for block in blocks[:-1]]
    if task.startswith("multi"):
        return np.stack(chosen, 1)
    wanted = blocks[-1] * (1 if task == "tuple" else np.array(DICT_BOX.high))
    columns = [*np.stack(chosen).astype(np.float32)]
    first = {"tuple": 1, "dict": 3}[task]
    return np.stack([*columns[:first], *wanted.T, *columns[first:]], 1).astype(np.float32)


# Of each column of an action: how many whole numbers, or the box's middle and half its width.
COLUMNS = {
    "multi_discrete": [3, 2, 4],
    "multi_binary": [2, 2, 2, 2],
    "tight_box": [(0.0, 0.1), (2.25, 0.25)],
    "tuple": [3, (0.0, 1.0), 2, 2],
    "dict": [2, 3, 2, (0.0, 1.0), (0.0, 2.0)],
    "picture_and_vector": [3],
}


@pytest.mark.parametrize("task", COLUMNS)
def test_the_best_policy_gets_one_in_every_step(task: str):
    envs = make(task)
    obs, seen = envs.reset(), set()
    for _ in range(60):
        result = envs.step(best_actions(task, obs))
        np.testing.assert_allclose(result.rewards, 1, atol=1e-5)
        obs = result.obs
        seen |= {row.tobytes() for row in obs}
    assert len(seen) >= (9 if task == "picture_and_vector" else 16)


@pytest.mark.parametrize(
    ("task", "column"), [(task, i) for task, own in COLUMNS.items() for i in range(len(own))]
)
def test_one_wrong_part_is_enough(task: str, column: int):
    envs = make(task)
    obs = envs.reset()
    for _ in range(20):
        actions = best_actions(task, obs)
        own = actions.reshape(len(actions), -1)[:, column]
        kind = COLUMNS[task][column]
        if isinstance(kind, int):
            own[:] = (own + 1) % kind
        else:  # half of the distance to a bound away, towards the other one
            middle, half = kind
            own += 0.5 * half * np.where(own > middle, -1, 1)
        result = envs.step(actions)
        np.testing.assert_allclose(result.rewards, 0 if isinstance(kind, int) else 0.75, atol=1e-5)
        obs = result.obs
