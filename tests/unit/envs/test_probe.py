"""The probe environments: their answers, their streams, their states."""

from __future__ import annotations

import json

import numpy as np
import pytest
from spaces import random_actions as actions_of

from ppo_mpi.envs.base import Box, ObservationSpec, VecEnvs
from ppo_mpi.envs.probe import COLORS, TASKS, make_envs
from ppo_mpi.errors import CheckpointError, ConfigError


def make(task: str, indices: list[int], seed: int = 0, stream: str = "train") -> VecEnvs:
    return make_envs(task, indices, seed, stream=stream, options={})


def best_actions(envs: VecEnvs, obs: np.ndarray) -> np.ndarray:
    """Return the actions that pay most, read off the observations."""
    if isinstance(envs.action_spec, Box):
        return obs
    if envs.obs_spec.is_image:
        return np.array([COLORS.index(tuple(image[0, 0].tolist())) for image in obs], np.int64)
    return obs.argmax(axis=1)


def random_actions(envs: VecEnvs, rng: np.random.Generator) -> np.ndarray:
    return actions_of(envs.action_spec, rng, len(envs.indices))


@pytest.mark.parametrize(
    ("task", "best"), [("match", 1), ("constant", 1), ("terminal", 1), ("box", 0), ("image", 1)]
)
def test_the_best_policy_gets_the_best_reward_at_every_step(task: str, best: float) -> None:
    envs = make(task, [0, 1, 2])
    obs = envs.reset()
    for _ in range(25):
        result = envs.step(best_actions(envs, obs))
        obs = result.obs
        np.testing.assert_allclose(result.rewards, best, atol=1e-6)


def test_a_wrong_action_gets_nothing() -> None:
    for task in ("match", "image"):
        envs = make(task, [0, 1, 2, 3])
        obs = envs.reset()
        assert envs.step((best_actions(envs, obs) + 1) % 3).rewards.tolist() == [0] * 4


def test_every_goal_is_drawn_as_often() -> None:
    envs = make("match", [0])
    envs.reset()
    goals = [int(envs.step(np.zeros(1, np.int64)).obs[0].argmax()) for _ in range(3000)]
    assert np.bincount(goals, minlength=3).min() > 900


@pytest.mark.parametrize("task", ["match", "constant", "box", "image"])
def test_episodes_are_cut_after_ten_steps_and_show_what_came_after(task: str) -> None:
    envs = make(task, [0, 1])
    envs.reset()
    for step in range(1, 31):
        result = envs.step(random_actions(envs, np.random.default_rng(step)))
        assert result.truncated.tolist() == [step % 10 == 0] * 2
        assert not result.terminated.any()
        assert sorted(result.final_obs) == ([0, 1] if step % 10 == 0 else [])
        for obs in result.final_obs.values():
            assert (obs.shape, obs.dtype) == (envs.obs_spec.shape, envs.obs_spec.dtype)


def test_the_final_observation_is_not_the_first_one_of_the_next_episode() -> None:
    envs = make("box", [0])
    envs.reset()
    for _ in range(10):
        result = envs.step(np.zeros((1, 1), np.float32))
    assert result.final_obs[0] != result.obs[0]


def test_terminal_ends_for_good_at_every_step() -> None:
    envs = make("terminal", [0, 1])
    envs.reset()
    for _ in range(12):
        result = envs.step(np.zeros(2, np.int64))
        assert result.terminated.all()
        assert not result.truncated.any()
        assert not result.final_obs


def test_box_pays_for_the_clipped_action() -> None:
    envs = make("box", [0])
    goal = float(envs.reset()[0, 0])
    result = envs.step(np.array([[5.0]], np.float32))
    assert result.rewards[0] == pytest.approx(-((1 - goal) ** 2))


@pytest.mark.parametrize("task", TASKS)
def test_specs_say_what_is_shown(task: str) -> None:
    envs = make(task, [0, 1])
    assert envs.reset().shape == (2, *envs.obs_spec.shape)
    assert envs.observe().dtype == envs.obs_spec.dtype
    assert envs.levels.tolist() == [-1, -1]
    assert [frame.shape for frame in envs.render()] == [(64, 64, 3)] * 2
    assert envs.render()[0].dtype == np.uint8
    envs.close()


def test_the_image_is_small_and_the_vector_is_one_hot() -> None:
    assert make("image", []).obs_spec == ObservationSpec((8, 8, 3), "uint8")
    assert make("match", []).obs_spec == ObservationSpec((3,), "float32")
    assert make("match", [0]).reset().sum() == 1


@pytest.mark.parametrize("task", [name for name in TASKS if name != "failing"])
def test_how_environments_are_dealt_changes_nothing(task: str) -> None:
    whole, parts = (
        make(task, [0, 1, 2, 3]),
        {(3, 1): make(task, [3, 1]), (0, 2): make(task, [0, 2])},
    )
    first = whole.reset()
    for indices, part in parts.items():
        np.testing.assert_array_equal(first[list(indices)], part.reset())
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = random_actions(whole, rng)
        result = whole.step(actions)
        for indices, part in parts.items():
            columns = list(indices)
            partly = part.step(actions[columns])
            np.testing.assert_array_equal(result.obs[columns], partly.obs)
            np.testing.assert_array_equal(result.rewards[columns], partly.rewards)
            np.testing.assert_array_equal(result.truncated[columns], partly.truncated)


@pytest.mark.parametrize("task", TASKS)
def test_saved_environments_go_on_exactly_in_other_slots(task: str) -> None:
    envs, other = make(task, [0, 2]), make(task, [5, 6, 7], seed=9, stream="test")
    rng = np.random.default_rng(0)
    envs.reset()
    for _ in range(13):
        envs.step(random_actions(envs, rng))
    envs.assign(1, seed=4, level=None)
    states = envs.get_states()
    assert other.set_states([None, states[1], states[0]]) == [0]
    np.testing.assert_array_equal(other.observe()[[2, 1]], envs.observe())
    for _ in range(40):
        actions = random_actions(envs, rng)
        result, again = envs.step(actions), other.step(actions[[0, 1, 0]])
        for name in ("obs", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(result, name), getattr(again, name)[[2, 1]])


def test_purposes_and_seeds_have_streams_of_their_own() -> None:
    first = [make("box", [0], seed, stream).reset()[0, 0]
             for seed, stream in ((0, "train"), (0, "test"), (1, "train"))]  # fmt: skip
    assert len(set(first)) == 3


def test_an_assigned_episode_is_drawn_from_its_seed() -> None:
    envs, other = make("box", [0, 1]), make("box", [7, 8, 9])
    envs.reset()
    other.reset()
    envs.assign(1, seed=42, level=None)
    before = envs.observe()
    other.assign(0, seed=42, level=None)
    assert envs.reset()[1] == other.reset()[0]
    assert not np.array_equal(before, envs.observe())
    actions = np.zeros((3, 1), np.float32)
    for _ in range(8):
        assert envs.step(actions[:2]).obs[1] == other.step(actions).obs[0]
    other.assign(0, seed=43, level=None)
    assert envs.step(actions[:2]).obs[1] == other.step(actions).obs[0]
    assert envs.step(actions[:2]).obs[1] != other.step(actions).obs[0]


def test_the_failing_probe_fails_in_step_five_of_environment_one_only() -> None:
    calm = make("failing", [0, 2])
    calm.reset()
    for _ in range(20):
        calm.step(np.zeros(2, np.int64))
    envs = make("failing", [0, 1])
    envs.reset()
    for _ in range(4):
        envs.step(np.zeros(2, np.int64))
    with pytest.raises(RuntimeError, match="^the probe environment fails on purpose$"):
        envs.step(np.zeros(2, np.int64))


def test_no_environments_can_be_stepped() -> None:
    for task in TASKS:
        envs = make(task, [])
        assert envs.reset().shape == (0, *envs.obs_spec.shape)
        assert envs.step(np.zeros(0, np.int64)).rewards.shape == (0,)
        assert envs.get_states() == []
        assert envs.set_states([]) == []
        assert envs.render() == []


def test_unknown_probes_and_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown probe 'mach'; did you mean match"):
        make("mach", [0])
    with pytest.raises(ConfigError, match="probe:match has no options, got .'speed': 2."):
        make_envs("match", [0], 0, options={"speed": 2})


def test_states_of_others_and_damaged_ones_are_refused() -> None:
    envs = make("match", [3])
    envs.reset()
    state = envs.get_states()[0]
    assert state is not None
    whose = "the saved state of environment 3 is"
    foreign = json.dumps({**json.loads(state), "probe": "box"}).encode()
    with pytest.raises(CheckpointError, match=f"{whose} one of probe:box, not of probe:match"):
        envs.set_states([foreign])
    for damaged in (b"", state[:50], b"[]", b"{}", state.replace(b"goal", b"gaol")):
        with pytest.raises(CheckpointError, match=f"{whose} damaged: "):
            envs.set_states([damaged])
    with pytest.raises(CheckpointError, match="2 saved environments do not fit 1 slots"):
        envs.set_states([state, state])
