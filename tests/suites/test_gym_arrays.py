"""Classic control as arrays against Gymnasium's own objects, to the bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")

import gymnasium

from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_arrays import ArrayEnvs
from ppo_mpi.envs.gym_control import GymEnvs, make_envs

TASKS = ["CartPole-v0", "CartPole-v1", "MountainCar-v0", "Pendulum-v1"]
PARTS = ("obs", "rewards", "terminated", "truncated", "levels")


def make(task: str, indices: range = range(6), **options: Any) -> VecEnvs:
    return make_envs(task, indices, 3, options={"env_kwargs": (), **options})


def by_objects(task: str, indices: range = range(6)) -> GymEnvs:
    return GymEnvs(task, indices, 3, "train", False, {})


def actions_for(task: str, obs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return actions that reach ends and time limits: some good ones, some at random."""
    num = len(obs)
    if task.startswith("Pendulum"):
        return random.uniform(-3, 3, (num, 1)).astype(np.float32)
    good = obs[:, 2] + obs[:, 3] > 0 if task.startswith("CartPole") else 2 * (obs[:, 1] >= 0)
    actions = np.where(np.arange(num) % 2, good, random.integers(0, 2, num))
    return actions.astype(np.int64)


def assert_same_steps(task: str, envs: list[VecEnvs], steps: int) -> int:
    """Step all alike; return how many episodes ended."""
    random, ended = np.random.default_rng(0), 0
    for _ in range(steps):
        actions = actions_for(task, envs[0].observe(), random)
        first, *others = [each.step(actions) for each in envs]
        ended += int((first.terminated | first.truncated).sum())
        for other in others:
            for part in PARTS:
                np.testing.assert_array_equal(getattr(first, part), getattr(other, part))
                assert getattr(first, part).dtype == getattr(other, part).dtype
            assert first.final_obs.keys() == other.final_obs.keys()
            for slot, obs in first.final_obs.items():
                np.testing.assert_array_equal(obs, other.final_obs[slot])
            assert first.last_obs.keys() == other.last_obs.keys()
            for slot, obs in first.last_obs.items():
                np.testing.assert_array_equal(obs, other.last_obs[slot])
                assert obs.dtype == other.last_obs[slot].dtype
    return ended


@pytest.mark.parametrize("task", TASKS)
def test_arrays_do_to_the_bit_what_gymnasium_does(task):
    envs = [by_objects(task), make(task)]
    assert type(envs[1]) is ArrayEnvs
    np.testing.assert_array_equal(envs[0].reset(), envs[1].reset())
    assert assert_same_steps(task, envs, 450) > 6


@pytest.mark.parametrize("task", TASKS)
def test_states_pass_between_arrays_and_objects(task):
    arrays = make(task)
    arrays.reset()
    assert_same_steps(task, [arrays], 30)
    states = arrays.get_states()
    others = [make(task), by_objects(task)]
    for other in others:
        assert other.set_states(states) == []
    assert_same_steps(task, [arrays, *others], 250)
    generators = [
        [json.loads(state)["generator"] for state in each.get_states() if state is not None]
        for each in (arrays, *others)
    ]
    assert generators[0] == generators[1] == generators[2]
    assert len(generators[0]) == 6


def test_a_slot_whose_state_is_lost_begins_a_fresh_episode():
    arrays = make("CartPole-v1")
    arrays.reset()
    assert_same_steps("CartPole-v1", [arrays], 7)
    states = arrays.get_states()
    states[2] = None
    other = make("CartPole-v1")
    assert other.set_states(states, iteration=4) == [2]
    objects = by_objects("CartPole-v1")
    objects.set_states(states, iteration=4)
    assert_same_steps("CartPole-v1", [other, objects], 40)


def test_an_assigned_episode_begins_with_its_seed():
    envs = [make("CartPole-v1"), by_objects("CartPole-v1")]
    for each in envs:
        each.assign(3, 77, None)
        each.reset()
    assert_same_steps("CartPole-v1", envs, 60)


@pytest.mark.parametrize(
    ("task", "env_kwargs"),
    [
        ("CartPole-v1", ("sutton_barto_reward=true",)),
        ("Acrobot-v1", ()),
        ("MountainCarContinuous-v0", ()),
    ],
)
def test_what_is_not_known_is_stepped_by_gymnasium(task, env_kwargs):
    assert type(make_envs(task, range(2), 3, options={"env_kwargs": env_kwargs})) is GymEnvs


def test_arguments_of_an_environment_are_respected():
    envs = make_envs("Pendulum-v1", range(4), 3, options={"env_kwargs": ("g=3.5",)})
    objects = GymEnvs("Pendulum-v1", range(4), 3, "train", False, {"g": 3.5})
    assert type(envs) is ArrayEnvs
    envs.reset(), objects.reset()
    assert_same_steps("Pendulum-v1", [envs, objects], 50)


def test_another_time_limit_is_respected():
    entry_point = "gymnasium.envs.classic_control:CartPoleEnv"
    gymnasium.register("CartPoleShort-v0", entry_point=entry_point, max_episode_steps=9)
    try:
        envs = [begun("CartPoleShort-v0"), begun_objects("CartPoleShort-v0")]
        assert type(envs[0]) is ArrayEnvs
        assert assert_same_steps("CartPole", envs, 40) >= 24
    finally:
        del gymnasium.registry["CartPoleShort-v0"]


def test_two_time_limits_are_left_to_gymnasium():
    gymnasium.register("CartPoleTwice-v0", entry_point=cart_pole_of_five, max_episode_steps=9)
    gymnasium.register("CartPoleOnce-v0", entry_point=cart_pole_of_five)
    try:
        for name in ("CartPoleTwice-v0", "CartPoleOnce-v0"):
            envs = begun(name)
            assert type(envs) is GymEnvs
            ends = [envs.step(np.zeros(6, np.int64)).truncated.all() for _ in range(5)]
            assert ends == [False] * 4 + [True]
    finally:
        del gymnasium.registry["CartPoleTwice-v0"], gymnasium.registry["CartPoleOnce-v0"]


def cart_pole_of_five(**arguments: Any) -> Any:
    inner = gymnasium.make("CartPole-v1", **arguments).unwrapped
    return gymnasium.wrappers.TimeLimit(inner, max_episode_steps=5)


def begun(task: str) -> VecEnvs:
    envs = make(task)
    envs.reset()
    return envs


def begun_objects(task: str) -> VecEnvs:
    envs = by_objects(task)
    envs.reset()
    return envs


def test_frames_are_drawn_by_the_objects():
    pytest.importorskip("pygame")
    envs = make_envs("CartPole-v1", range(1), 3, render=True, options={"env_kwargs": ()})
    assert type(envs) is GymEnvs
    envs.close()


def test_a_rank_without_environments_knows_the_spaces():
    envs = make("CartPole-v1", range(0))
    assert (envs.obs_spec.shape, envs.reset().shape) == ((4,), (0, 4))
