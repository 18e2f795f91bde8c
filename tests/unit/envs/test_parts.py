"""Environments in parts do what one vector of them does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.parts import EnvParts, with_slots_from
from ppo_mpi.envs.probe import make_envs
from ppo_mpi.errors import CheckpointError

INDICES = (3, 4, 5, 6, 7)


def whole(task: str) -> VecEnvs:
    return make_envs(task, INDICES, 7, stream="train", options={})


def in_parts(task: str) -> EnvParts:
    cuts = (INDICES[:2], INDICES[2:3], INDICES[3:])
    return EnvParts([make_envs(task, cut, 7, stream="train", options={}) for cut in cuts])


def assert_equal(result: StepResult, expected: StepResult) -> None:
    for name in ("obs", "rewards", "terminated", "truncated", "levels"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
    assert result.dropped == expected.dropped
    assert set(result.final_obs) == set(expected.final_obs)
    for slot, obs in expected.final_obs.items():
        np.testing.assert_array_equal(result.final_obs[slot], obs)
    assert set(result.last_obs) == set(expected.last_obs)
    for slot, obs in expected.last_obs.items():
        np.testing.assert_array_equal(result.last_obs[slot], obs)


def actions_of(envs: VecEnvs, step: int) -> np.ndarray:
    random = np.random.default_rng(step)
    if hasattr(envs.action_spec, "num_actions"):
        return random.integers(envs.action_spec.num_actions, size=len(INDICES))
    return random.uniform(-1, 1, (len(INDICES), len(envs.action_spec.low))).astype(np.float32)


@pytest.mark.parametrize("task", ["match", "terminal", "box", "image"])
def test_parts_step_as_one_vector_does(task):
    envs, parts = whole(task), in_parts(task)
    assert parts.indices == envs.indices
    np.testing.assert_array_equal(parts.reset(), envs.reset())
    ends = 0
    for t in range(25):
        actions = actions_of(envs, t)
        expected = envs.step(actions)
        assert_equal(parts.step(actions), expected)
        np.testing.assert_array_equal(parts.observe(), envs.observe())
        np.testing.assert_array_equal(parts.levels, envs.levels)
        ends += int((expected.terminated | expected.truncated).sum())
    assert ends > 0, "episodes end within the test"


def test_states_go_from_parts_to_one_vector_and_back():
    envs, parts = whole("match"), in_parts("match")
    envs.reset(), parts.reset()
    for t in range(7):
        parts.step(actions_of(envs, t))
    states = parts.get_states()
    assert envs.set_states(states) == []
    other = in_parts("match")
    assert other.set_states(envs.get_states()) == []
    for t in range(20):
        actions = actions_of(envs, t)
        assert_equal(other.step(actions), envs.step(actions))


def test_slots_that_begin_afresh_are_named_in_the_whole():
    parts = in_parts("match")
    parts.reset()
    states = parts.get_states()
    states[1] = states[4] = None
    assert parts.set_states(states) == [1, 4]


def test_an_assignment_reaches_its_slot():
    envs, parts = whole("match"), in_parts("match")
    for slot in (1, 2, 4):
        envs.assign(slot, 100 + slot, None)
        parts.assign(slot, 100 + slot, None)
    np.testing.assert_array_equal(parts.reset(), envs.reset())
    with pytest.raises(IndexError, match="slot 5"):
        parts.assign(5, 0, None)


def test_lost_lives_are_joined_in_the_order_of_the_slots():
    parts = in_parts("match")
    for part in parts.parts:
        part.step = losing_the_last_life(part)  # type: ignore[method-assign]
    parts.reset()
    result = parts.step(actions_of(parts, 0))
    assert result.life_lost is not None
    assert result.life_lost.tolist() == [False, True, True, False, True]


def losing_the_last_life(part: VecEnvs) -> Callable[[np.ndarray], StepResult]:
    step = part.step

    def losing(actions: np.ndarray) -> StepResult:
        lost = np.arange(len(part.indices)) == len(part.indices) - 1
        return replace(step(actions), life_lost=lost)

    return losing


def test_a_part_with_a_truncated_episode_keeps_its_lost_lives():
    part = StepResult(*(np.ones(1) for _ in range(4)), {0: np.ones(1)}, np.ones(1),
                      life_lost=np.array([True]))  # fmt: skip
    moved = with_slots_from(part, 3)
    assert list(moved.final_obs) == [3]
    assert moved.life_lost is part.life_lost


def test_a_bad_state_in_one_part_changes_nothing_in_any():
    parts, good = in_parts("box"), whole("box")
    parts.reset()
    good.reset()
    parts.step(actions_of(parts, 0))
    before, states = parts.get_states(), good.get_states()
    for bad, message in (
        ([*states[:4], b"{"], "environment 7 is damaged"),
        (states[:4], "4 saved environments do not fit 5 slots"),
        ([*states, None], "6 saved environments do not fit 5 slots"),
    ):
        with pytest.raises(CheckpointError, match=message):
            parts.set_states(bad)
        assert parts.get_states() == before
    parts.check_states(states)
    assert parts.get_states() == before
    assert parts.set_states(states) == []
    assert parts.get_states() == states
