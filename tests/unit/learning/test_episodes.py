"""Whole, raw returns of episodes."""

from __future__ import annotations

import json

import numpy as np

from ppo_mpi.envs.base import StepResult
from ppo_mpi.learning.episodes import EpisodeTracker


def step(rewards: list[float], terminated: list[int], truncated: list[int]) -> StepResult:
    num_envs = len(rewards)
    return StepResult(
        obs=np.zeros((num_envs, 1), np.float32),
        rewards=np.array(rewards, np.float32),
        terminated=np.array(terminated, bool),
        truncated=np.array(truncated, bool),
        final_obs={},
        levels=np.arange(num_envs) + 100,
    )


def test_returns_and_lengths_are_summed_until_an_episode_ends_and_then_begin_anew():
    tracker = EpisodeTracker([4, 7], "train")
    assert tracker.add(step([1, 10], [0, 0], [0, 0]), iteration=0) == []
    (ended,) = tracker.add(step([2, 20], [0, 1], [0, 0]), iteration=0)
    assert (ended.env, ended.level, ended.episode_return, ended.length) == (7, 101, 30.0, 2)
    first, second = tracker.add(step([3, 30], [0, 0], [1, 1]), iteration=1)
    assert (first.env, first.episode_return, first.length, first.iteration) == (4, 6.0, 3, 1)
    assert (second.env, second.episode_return, second.length) == (7, 30.0, 1)
    assert first.split == "train"


def test_forgotten_episodes_begin_anew():
    tracker = EpisodeTracker([0, 1], "test")
    tracker.add(step([5, 6], [0, 0], [0, 0]), iteration=0)
    tracker.forget([0])
    first, second = tracker.add(step([1, 1], [1, 1], [0, 0]), iteration=0)
    assert (first.episode_return, first.length) == (1.0, 1)
    assert (second.episode_return, second.length) == (7.0, 2)


def test_the_state_goes_through_json_to_another_sharding():
    tracker = EpisodeTracker([0, 1, 2], "train")
    tracker.add(step([0.1, 0.2, 0.3], [0, 0, 0], [0, 0, 0]), iteration=0)
    state = json.loads(json.dumps(tracker.state_dict()))
    part = EpisodeTracker([2], "train")
    part.load_state_dict(state)
    (ended,) = part.add(step([1.0], [1], [0]), iteration=0)
    assert ended.episode_return == float(np.float32(0.3)) + 1.0
    assert ended.length == 2


def test_an_episode_that_was_dropped_is_not_reported_and_the_next_one_begins_at_zero():
    tracker = EpisodeTracker((4, 5), "train")
    cut = np.array([True, True])
    no = np.zeros(2, bool)
    result = StepResult(
        np.zeros((2, 1)), np.ones(2, np.float32), no, cut, {}, np.array([-1, -1]), frozenset({1})
    )
    assert [record.env for record in tracker.add(result, 1)] == [4]
    assert tracker.returns.tolist() == [0.0, 0.0]
    assert tracker.lengths.tolist() == [0, 0]
