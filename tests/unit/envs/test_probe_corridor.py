"""The corridor keeps the contract of suites, and only the one way leads to its reward."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_mpi.envs.probe import make_envs
from ppo_mpi.envs.probe_corridor import DOORS, MAX_STEPS, NUM_DOORS, CorridorEnvs
from ppo_mpi.errors import CheckpointError, ConfigError

TASKS = ("corridor", "corridor-image")


def make(task: str = "corridor", num: int = 2) -> CorridorEnvs:
    envs = make_envs(task, range(num), 0, options={})
    assert isinstance(envs, CorridorEnvs)
    return envs


@pytest.mark.parametrize("task", TASKS)
def test_the_right_doors_lead_to_the_reward_and_to_the_true_last_observation(task: str):
    envs = make(task, 1)
    seen = [envs.reset()[0]]
    for door in DOORS:
        result = envs.step(np.array([door]))
        seen.append(result.last_obs.get(0, result.obs[0]))
        assert result.rewards[0] == float(result.terminated[0])
    assert result.terminated[0]
    assert not result.truncated[0]
    assert not result.final_obs
    assert len({obs.tobytes() for obs in seen}) == len(DOORS) + 1, "every room looks different"
    np.testing.assert_array_equal(result.obs[0], seen[0])
    assert seen[0].dtype == envs.obs_spec.dtype
    assert seen[0].shape == envs.obs_spec.shape


def test_every_other_door_leads_back():
    for room, right in enumerate(DOORS):
        for door in set(range(NUM_DOORS)) - {right}:
            envs = make(num=1)
            first = envs.reset()
            for passed in DOORS[:room]:
                envs.step(np.array([passed]))
            result = envs.step(np.array([door]))
            np.testing.assert_array_equal(result.obs, first)
            assert result.rewards[0] == 0
            assert not result.terminated[0]


def test_who_does_not_find_the_way_is_cut_short():
    envs = make()
    envs.reset()
    for step in range(1, 2 * MAX_STEPS + 1):
        result = envs.step(np.array([2, 0]))
        assert result.truncated.tolist() == [step % MAX_STEPS == 0] * 2
        assert sorted(result.final_obs) == ([0, 1] if step % MAX_STEPS == 0 else [])
        assert not result.last_obs


def test_states_are_put_back():
    envs, other = make(num=3), make(num=3)
    envs.reset()
    for door in (2, 0):
        envs.step(np.array([door, 2, 1]))
    assert other.set_states([*envs.get_states()[:2], None]) == [2]
    np.testing.assert_array_equal(other.observe()[:2], envs.observe()[:2])
    assert other.get_states()[:2] == envs.get_states()[:2]
    np.testing.assert_array_equal(other.observe()[2], make().reset()[0])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b"{", "environment 0 is damaged"),
        (b'{"probe": "corridor"}', "environment 0 is damaged: KeyError"),
        (b'{"probe": "corridor", "room": 15, "steps": 0}', "damaged: room 15 after 0 steps"),
        (b'{"probe": "corridor", "room": 1, "steps": 30}', "damaged: room 1 after 30 steps"),
        (b'{"probe": "corridor-image", "room": 1, "steps": 1}', "one of probe:corridor-image"),
    ],
)
def test_a_damaged_state_is_refused(state: bytes, message: str):
    with pytest.raises(CheckpointError, match=message):
        make(num=1).set_states([state])


def test_the_wrong_number_of_states_is_refused():
    with pytest.raises(CheckpointError, match="1 saved environments do not fit 2 slots"):
        make().set_states([None])


def test_it_has_no_options():
    with pytest.raises(ConfigError, match="unknown probe argument 'a'; known: max_steps"):
        make_envs("corridor", [0], 0, options={"env_kwargs": ("a=1",)})


@pytest.mark.parametrize("task", TASKS)
def test_frames_show_the_room(task: str):
    envs = make(task)
    envs.reset()
    envs.step(np.array([2, 1]))
    one, other = envs.render()
    assert one.shape == (64, 64, 3)
    assert one.dtype == np.uint8
    assert not np.array_equal(one, other)
