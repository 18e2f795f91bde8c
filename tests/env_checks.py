"""What every suite's environments must do, as checks for the suites' tests."""

from __future__ import annotations

import ctypes.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ppo_mpi.envs.base import Discrete, StepResult, VecEnvs

Make = Callable[[Sequence[int], int], VecEnvs]
"""(whole-job indices, seed) -> environments."""

needs_egl = pytest.mark.skipif(
    not ctypes.util.find_library("EGL") and not ctypes.util.find_library("OSMesa"),
    reason="MuJoCo needs libegl1 and libgl1-mesa-dri to draw",
)


def random_actions(envs: VecEnvs, num_steps: int, seed: int = 0) -> np.ndarray:
    """Return [T, B] or [T, B, A] actions, a little beyond the bounds."""
    rng, num = np.random.default_rng(seed), len(envs.indices)
    if isinstance(envs.action_spec, Discrete):
        return rng.integers(envs.action_spec.num_actions, size=(num_steps, num))
    return rng.normal(0, 1, size=(num_steps, num, len(envs.action_spec.low))).astype(np.float32)


def assert_same(whole: StepResult, part: StepResult, columns: Sequence[int]) -> None:
    """Compare slots of one step to the bit: slot i of ``part`` is ``columns[i]`` of ``whole``."""
    chosen = list(columns)
    for name in ("obs", "rewards", "terminated", "truncated", "levels"):
        np.testing.assert_array_equal(getattr(whole, name)[chosen], getattr(part, name))
    for slot, column in enumerate(chosen):
        assert (slot in part.final_obs) == (column in whole.final_obs)
        if slot in part.final_obs:
            np.testing.assert_array_equal(part.final_obs[slot], whole.final_obs[column])


def assert_streams_by_index(
    make: Make, num_steps: int, least_ends: int, same_start: bool = False
) -> None:
    """Check that environments do the same in any vector, and that seeds and indices differ.

    Args:
        make: makes them.
        num_steps: of the check.
        least_ends: episodes that must end in it.
        same_start: whether every episode begins alike.
    """
    whole, part = make([0, 1, 2], 3), make([2, 0], 3)
    first = whole.reset()
    np.testing.assert_array_equal(first[[2, 0]], part.reset())
    assert same_start or not np.array_equal(first[0], first[1])
    other = make([0], 4)
    assert same_start or not np.array_equal(other.reset()[0], first[0])
    num_ends = 0
    for actions in random_actions(whole, num_steps):
        result = whole.step(actions)
        num_ends += int((result.terminated | result.truncated).sum())
        assert_same(result, part.step(actions[[2, 0]]), [2, 0])
    assert num_ends >= least_ends
    for envs in (whole, part, other):
        envs.close()


def assert_goes_on_exactly(make: Make, before: int, after: int, least_ends: int) -> None:
    """Check that saved environments go on to the bit, over ends, in other slots."""
    envs, other = make([0, 1], 3), make([8, 9], 77)
    envs.reset()
    other.reset()
    for actions in random_actions(envs, before):
        envs.step(actions)
    for actions in random_actions(other, 5, seed=9):
        other.step(actions)
    envs.assign(1, seed=11, level=None)
    states = envs.get_states()
    assert None not in states
    assert other.set_states([states[1], states[0]]) == []
    np.testing.assert_array_equal(other.observe(), envs.observe()[[1, 0]])
    num_ends = 0
    for actions in random_actions(envs, after, seed=1):
        result = envs.step(actions)
        num_ends += int((result.terminated | result.truncated).sum())
        assert_same(result, other.step(actions[[1, 0]]), [1, 0])
    assert num_ends >= least_ends
    envs.close()
    other.close()


def assert_same_in_threads(make: Make, num_steps: int) -> None:
    """Check that two environments which threads step at the same time do what they do in turn."""
    whole, parts = make([0, 1], 3), [make([0], 3), make([1], 3)]
    first = whole.reset()
    chosen = random_actions(whole, num_steps)
    steps = [whole.step(actions) for actions in chosen]

    def play(slot: int) -> list[StepResult]:
        return [parts[slot].step(actions[slot : slot + 1]) for actions in chosen]

    for slot, part in enumerate(parts):  # begun by the main thread, as a job does
        np.testing.assert_array_equal(part.reset()[0], first[slot])
    with ThreadPoolExecutor(2) as threads:
        for slot, own in enumerate(threads.map(play, (0, 1))):
            for expected, result in zip(steps, own, strict=True):
                assert_same(expected, result, [slot])
    for envs in (whole, *parts):
        envs.close()
