"""The memory probe keeps the contract of suites, and its answer is what was shown at first."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ppo_mpi.envs.probe import make_envs
from ppo_mpi.envs.probe_memory import LONGEST, NUM_CUES, QUESTION, SHORTEST, MemoryEnvs
from ppo_mpi.envs.probe_tasks import COLORS
from ppo_mpi.errors import CheckpointError


def make(indices: tuple[int, ...] = (0, 1, 2), task: str = "memory") -> MemoryEnvs:
    envs = make_envs(task, indices, 3, options={})
    assert isinstance(envs, MemoryEnvs)
    return envs


def test_the_reward_is_for_the_cue_at_the_question_only():
    envs = make()
    obs = envs.reset()
    cues, lengths, steps = obs[:, :NUM_CUES].argmax(1), [], np.zeros(3, int)
    assert obs.sum(1).tolist() == [1, 1, 1]
    returns = []
    for time in range(200):
        asked = obs[:, QUESTION] == 1
        answers = np.where(np.arange(3) + time % 2 > 1, cues, (cues + 1) % NUM_CUES)
        result = envs.step(answers)
        assert result.terminated.tolist() == asked.tolist()
        assert not result.truncated.any()
        right = asked & (answers == cues)
        assert result.rewards.tolist() == right.astype(float).tolist()
        steps += 1
        for slot in np.flatnonzero(asked):
            np.testing.assert_array_equal(result.last_obs[slot], obs[slot])
            cues[slot] = result.obs[slot, :NUM_CUES].argmax()
            assert result.obs[slot].sum() == 1
            lengths.append(steps[slot] - 1)
            returns.append(result.rewards[slot])
            steps[slot] = 0
        assert not result.obs[~asked][:, :NUM_CUES].any(), "the cue is shown once"
        obs = result.obs
    assert set(lengths) == set(range(SHORTEST, LONGEST + 1))
    assert set(returns) == {0.0, 1.0}


def test_an_environment_is_the_same_wherever_it_lives():
    whole, alone = make((0, 1, 2)), make((2,))
    obs, own = whole.reset(), alone.reset()
    for _ in range(50):
        np.testing.assert_array_equal(obs[2], own[0])
        obs, own = whole.step(np.zeros(3, int)).obs, alone.step(np.zeros(1, int)).obs


def test_the_images_show_cue_corridor_and_question():
    envs = make((0,), "memory-image")
    vectors = make((0,))
    obs, seen = envs.reset()[0], vectors.reset()[0]
    for _ in range(30):
        if seen[:NUM_CUES].any():
            color = COLORS[int(seen[:NUM_CUES].argmax())]
        else:
            color = (255,) * 3 if seen[QUESTION] else (0,) * 3
        assert (obs == np.array(color, np.uint8)).all()
        assert (envs.render()[0] == np.array(color, np.uint8)).all()
        obs, seen = envs.step(np.zeros(1, int)).obs[0], vectors.step(np.zeros(1, int)).obs[0]


def test_states_are_put_back_and_episodes_assigned():
    envs, other = make(), make()
    envs.reset()
    for _ in range(7):
        envs.step(np.zeros(3, int))
    envs.assign(1, 99, None)
    assert other.set_states([*envs.get_states()[:2], None]) == [2]
    for _ in range(30):
        np.testing.assert_array_equal(other.observe()[:2], envs.observe()[:2])
        envs.step(np.zeros(3, int))
        other.step(np.zeros(3, int))
    first, second = make((4,)), make((9,))
    for own in (first, second):
        own.assign(0, 5, None)
        own.reset()
    for _ in range(20):
        np.testing.assert_array_equal(first.observe(), second.observe())
        first.step(np.zeros(1, int))
        second.step(np.zeros(1, int))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 9}, "environment 0 is damaged: cue ., step 9 of"),
        ({"cue": 3}, "environment 0 is damaged: cue 3"),
        ({"cue": "red"}, "environment 0 is damaged: ValueError"),
        ({"probe": "memory-image"}, "one of probe:memory-image, not of probe:memory"),
        ({"color": 1}, "environment 0 is damaged: TypeError"),
    ],
)
def test_a_state_that_cannot_be_is_refused(change: dict[str, object], message: str):
    envs = make((0,))
    envs.reset()
    (state,) = envs.get_states()
    assert state is not None
    changed = json.dumps(json.loads(state) | change).encode()
    with pytest.raises(CheckpointError, match=message):
        envs.set_states([changed])
    with pytest.raises(CheckpointError, match="2 saved environments do not fit 1 slots"):
        envs.set_states([state, state])
