"""Gymnasium environments: spaces, ends, streams by environment, exact states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")

import gymnasium
from gymnasium import spaces

from ppo_mpi.envs.base import Box, Discrete, ObservationSpec, StepResult, VecEnvs
from ppo_mpi.envs.gym_control import make_envs
from ppo_mpi.envs.gym_making import parse_env_kwargs
from ppo_mpi.seeding import stream_seed

SAVABLE = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"]


class Echo(gymnasium.Env[Any, Any]):
    """Remembers the last action and shows whatever its space samples; made to be configured."""

    actions: list[Any] = []

    def __init__(
        self,
        observation_space: spaces.Space[Any] | None = None,
        action_space: spaces.Space[Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = observation_space or spaces.Box(-1, 1, (2,))
        self.action_space = action_space or spaces.Discrete(3, start=5)
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(0)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Echo.actions.append(action)
        return self.observation_space.sample(), 1.0, True, True, {}


@pytest.fixture(autouse=True)
def echo() -> Iterator[None]:
    Echo.actions = []
    gymnasium.register("Echo-v0", entry_point=f"{__name__}:Echo")
    yield
    del gymnasium.registry["Echo-v0"]


def make(task: str, indices: list[int], seed: int = 3, *env_kwargs: str, **named: Any) -> VecEnvs:
    return make_envs(task, indices, seed, options={"env_kwargs": env_kwargs}, **named)


def make_echo(monkeypatch: pytest.MonkeyPatch, **found: Any) -> VecEnvs:
    """Make Echo with spaces that no command line could give."""
    monkeypatch.setitem(gymnasium.registry["Echo-v0"].__dict__, "kwargs", found)
    return make("Echo-v0", [0])


def random_actions(envs: VecEnvs, num_steps: int, seed: int = 0) -> np.ndarray:
    rng, num = np.random.default_rng(seed), len(envs.indices)
    if isinstance(envs.action_spec, Discrete):
        return rng.integers(envs.action_spec.num_actions, size=(num_steps, num))
    return rng.normal(0, 2, size=(num_steps, num, len(envs.action_spec.low))).astype(np.float32)


def assert_same(whole: StepResult, part: StepResult, columns: list[int]) -> None:
    for name in ("obs", "rewards", "terminated", "truncated", "levels"):
        np.testing.assert_array_equal(getattr(whole, name)[columns], getattr(part, name))
    for slot, column in enumerate(columns):
        assert (slot in part.final_obs) == (column in whole.final_obs)
        if slot in part.final_obs:
            np.testing.assert_array_equal(part.final_obs[slot], whole.final_obs[column])


@pytest.mark.parametrize("task", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"])
def test_one_vector_of_six_is_vectors_of_two_and_four(task: str) -> None:
    whole, parts = make(task, list(range(6))), {}
    for indices in ((4, 1), (0, 2, 3, 5)):
        parts[indices] = make(task, list(indices))
    first, num_ends = whole.reset(), 0
    for indices, part in parts.items():
        np.testing.assert_array_equal(first[list(indices)], part.reset())
    for actions in random_actions(whole, 600):
        result = whole.step(actions)
        num_ends += int((result.terminated | result.truncated).sum())
        for indices, part in parts.items():
            assert_same(result, part.step(actions[list(indices)]), list(indices))
    assert num_ends >= 6


@pytest.mark.parametrize("task", SAVABLE)
def test_saved_environments_go_on_exactly_in_other_slots(task: str) -> None:
    envs = make(task, [0, 1, 2])
    envs.reset()
    for actions in random_actions(envs, 33):
        envs.step(actions)
    envs.assign(2, seed=11, level=None)
    states, shown = envs.get_states(), envs.observe()
    other = make(task, [9, 8], 77)
    other.reset()
    for actions in random_actions(other, 5):
        other.step(actions)
    fresh = make(task, [7, 6], 78)
    for vector in (other, fresh):
        assert vector.set_states([states[2], states[1]]) == []
        np.testing.assert_array_equal(vector.observe(), shown[[2, 1]])
    num_ends = 0
    for actions in random_actions(envs, 1000, seed=1):
        result = envs.step(actions)
        num_ends += int((result.terminated | result.truncated).sum())
        for vector in (other, fresh):
            assert_same(result, vector.step(actions[[2, 1]]), [2, 1])
    assert num_ends >= 3


def test_first_resets_are_seeded_by_index_and_later_ones_go_on() -> None:
    envs = make("CartPole-v1", [4, 0])
    env = gymnasium.make("CartPole-v1")
    obs, _ = env.reset(seed=stream_seed(3, "train:reset", 4))
    np.testing.assert_array_equal(envs.reset()[0], obs)
    for _ in range(3):
        obs, _ = env.reset()
        np.testing.assert_array_equal(envs.reset()[0], obs)


def test_purposes_and_seeds_have_streams_of_their_own() -> None:
    first = [
        float(make("CartPole-v1", [0], seed, stream=stream).reset()[0, 0])
        for seed, stream in ((3, "train"), (3, "test"), (4, "train"))
    ]
    assert len(set(first)) == 3


def test_an_assigned_episode_is_that_of_its_seed_and_the_generator_goes_on() -> None:
    envs, env = make("CartPole-v1", [0, 1]), gymnasium.make("CartPole-v1")
    envs.reset()
    envs.assign(1, seed=123, level=None)
    running = envs.step(np.ones(2, np.int64)).obs[1]
    obs, _ = env.reset(seed=123)
    assert not np.array_equal(running, obs)
    begun = 0
    for _ in range(60):
        result = envs.step(np.ones(2, np.int64))
        if begun:
            obs, _, ended, _, _ = env.step(1)
            if ended:
                obs, _ = env.reset()
            np.testing.assert_array_equal(result.obs[1], obs)
        if result.terminated[1]:
            begun += 1
            np.testing.assert_array_equal(result.obs[1], obs)
    assert begun >= 3
    envs.assign(0, seed=123, level=None)
    np.testing.assert_array_equal(envs.reset()[0], env.reset(seed=123)[0])


def test_truncated_episodes_give_their_true_final_observation() -> None:
    envs, env = make("Pendulum-v1", [0, 1]), gymnasium.make("Pendulum-v1")
    envs.reset()
    env.reset(seed=stream_seed(3, "train:reset", 1))
    for step, actions in enumerate(random_actions(envs, 450), start=1):
        result = envs.step(actions)
        obs, reward, _, _, _ = env.step(np.clip(actions[1], -2, 2))
        assert result.rewards[1] == np.float32(reward)
        assert result.truncated.tolist() == [step % 200 == 0] * 2
        assert not result.terminated.any()
        if step % 200 == 0:
            np.testing.assert_array_equal(result.final_obs[1], obs)
            obs, _ = env.reset()
            assert not np.array_equal(result.final_obs[1], obs)
        else:
            assert not result.final_obs
        np.testing.assert_array_equal(result.obs[1], obs)


def test_an_end_at_the_time_limit_is_an_end() -> None:
    envs = make("Echo-v0", [0, 1])
    envs.reset()
    result = envs.step(np.zeros(2, np.int64))
    assert result.terminated.all()
    assert not result.truncated.any()
    assert not result.final_obs
    assert sorted(result.last_obs) == [0, 1]


def test_terminated_episodes_give_their_true_last_observation() -> None:
    envs, env = make("Acrobot-v1", [0]), gymnasium.make("Acrobot-v1")
    obs = envs.reset()[0]
    env.reset(seed=stream_seed(3, "train:reset", 0))
    ends = 0
    for _ in range(1000):
        action = 2 if obs[4] < 0 else 0  # against the first arm's speed: it swings up
        result = envs.step(np.array([action]))
        obs, _, ended, cut, _ = env.step(action)
        assert sorted(result.last_obs) == ([0] if ended else [])
        if ended:
            ends += 1
            np.testing.assert_array_equal(result.last_obs[0], obs)
            assert not np.array_equal(result.obs[0], obs)
        if ended or cut:
            env.reset()
        obs = result.obs[0]
    assert ends


def test_actions_are_clipped_to_the_bounds() -> None:
    one, other = make("Pendulum-v1", [0]), make("Pendulum-v1", [0])
    one.reset()
    other.reset()
    assert one.action_spec == Box((-2.0,), (2.0,))
    for value in (50.0, -50.0, 2.5):
        result = one.step(np.array([[value]], np.float32))
        within = other.step(np.clip(np.array([[value]], np.float32), -2, 2))
        assert_same(result, within, [0])


def test_discrete_actions_count_from_the_spaces_start() -> None:
    envs = make("Echo-v0", [0])
    envs.reset()
    assert envs.action_spec == Discrete(3)
    for action in (0, 2):
        envs.step(np.array([action]))
    assert Echo.actions == [5, 7]


def test_box_actions_get_their_shape_and_type_back(monkeypatch: pytest.MonkeyPatch) -> None:
    low = np.array([[-1, -2], [-3, -np.inf]])
    envs = make_echo(monkeypatch, action_space=spaces.Box(low, -low, dtype=np.float64))
    envs.reset()
    assert envs.action_spec == Box((-1, -2, -3, -np.inf), (1, 2, 3, np.inf))
    envs.step(np.array([[9, -9, 0.5, 99]], np.float32))
    assert Echo.actions[0].dtype == np.float64
    assert Echo.actions[0].tolist() == [[1, -2], [0.5, 99]]


@pytest.mark.parametrize(
    ("space", "spec"),
    [
        (spaces.Discrete(4), ObservationSpec((4,), "float32")),
        (spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 1, (2, 2)))),
         ObservationSpec((7,), "float32")),
        (spaces.Dict({"a": spaces.MultiBinary(3), "b": spaces.Box(-1, 1, (1,), np.float64)}),
         ObservationSpec((4,), "float32")),
        (spaces.Box(0, 255, (5, 4, 3), np.uint8), ObservationSpec((5, 4, 3), "uint8")),
    ],
)  # fmt: skip
def test_observations_are_flat_vectors_or_images(
    space: spaces.Space[Any], spec: ObservationSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = make_echo(monkeypatch, observation_space=space)
    assert envs.obs_spec == spec
    obs = envs.reset()
    assert (obs.shape, str(obs.dtype)) == ((1, *spec.shape), spec.dtype)
    space.seed(0)
    sample = space.sample()
    expected = sample if spec.is_image else spaces.utils.flatten(space, sample)
    np.testing.assert_array_equal(obs[0], np.asarray(expected, spec.dtype))


def test_arguments_reach_the_environment_with_the_types_of_yaml() -> None:
    envs = make("Pendulum-v1", [0], 3, "g=0.0")
    plain = make("Pendulum-v1", [0], 3)
    np.testing.assert_array_equal(envs.reset(), plain.reset())
    still = np.zeros((1, 1), np.float32)
    assert not np.array_equal(envs.step(still).obs, plain.step(still).obs)
    small = make("Pendulum-v1", [0], 3, "g=1e-9")
    small.reset()
    assert not np.array_equal(small.step(still).obs, plain.step(still).obs)
    make("FrozenLake-v1", [0], 3, "is_slippery=false", "map_name=8x8").reset()


def test_frames_are_pictures_of_each_slot() -> None:
    envs = make("CartPole-v1", [0, 1], render=True)
    envs.reset()
    for _ in range(5):
        envs.step(np.array([0, 1]))
    frames = envs.render()
    assert [(frame.shape, frame.dtype) for frame in frames] == [((400, 600, 3), np.uint8)] * 2
    assert not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize("task", SAVABLE)
def test_restored_environments_look_the_same(task: str) -> None:
    envs, other = make(task, [0], render=True), make(task, [1], render=True)
    envs.reset()
    other.reset()
    for actions in random_actions(envs, 5):
        envs.step(actions)
    assert not np.array_equal(other.render()[0], envs.render()[0])
    other.set_states(envs.get_states())
    np.testing.assert_array_equal(other.render()[0], envs.render()[0])


def test_no_environments_still_have_spaces() -> None:
    envs = make("Pendulum-v1", [])
    assert envs.obs_spec == ObservationSpec((3,), "float32")
    assert envs.action_spec == Box((-2.0,), (2.0,))
    assert envs.reset().shape == (0, 3)
    assert envs.step(np.zeros((0, 1), np.float32)).obs.shape == (0, 3)
    assert envs.get_states() == []
    assert envs.set_states([]) == []
    envs.close()


def test_unsavable_environments_begin_fresh_episodes() -> None:
    envs = make("FrozenLake-v1", [0, 1], 3, "is_slippery=false")
    envs.reset()
    envs.step(np.array([2, 2]))
    assert envs.get_states() == [None, None]
    assert envs.set_states([None, None]) == [0, 1]
    assert envs.observe().argmax(axis=1).tolist() == [0, 0]


def test_a_run_that_is_interrupted_again_does_not_play_the_same_fresh_episode() -> None:
    shown = []
    for iteration in (0, 4, 9, 9):
        envs = make("FrozenLake-v1", [0, 1], 3, "map_name=null", "is_slippery=false")
        envs.set_states([None, None], iteration)
        shown.append([env.unwrapped.np_random.bit_generator.state["state"] for env in envs._envs])
    assert shown[2] == shown[3]
    assert shown[0] != shown[1] != shown[2]


def test_words_that_floats_have_too_stay_words() -> None:
    given = ["name=infinity", "other=nan", "rate=5e-4", "count=3"]
    expected = {"name": "infinity", "other": "nan", "rate": 5e-4, "count": 3}
    assert parse_env_kwargs({"env_kwargs": given}) == expected
