"""EnvPool's Atari: the same frames as the emulator's, seeds by environment, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ale_py")
pytest.importorskip("cv2")
pytest.importorskip("envpool")

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.atari import AtariEnvs
from ppo_mpi.envs.atari_pool import PoolEnvs
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.stepping import Resources, make_parts
from ppo_mpi.suites import make_envs


def make(env: str, indices: Any, engine: str, stream: str = "train", **settings: Any) -> VecEnvs:
    threads = settings.pop("engine_threads", 0)
    config = with_values(TrainConfig(), {"env": env, "atari_engine": engine, **settings})
    return make_envs(config, tuple(indices), 3, stream, engine_threads=threads)


@pytest.mark.parametrize(
    ("env", "settings", "steps"),
    [
        ("atari:Pong", {}, 400),
        ("atari:MsPacman", {"grayscale": False, "frame_stack": 2}, 300),
        ("atari:Seaquest", {"screen_size": 64, "frame_skip": 3}, 300),
        ("atari:Breakout", {"full_action_space": True}, 150),
    ],
)
def test_without_anything_random_both_engines_show_and_give_the_same(env, settings, steps):
    # One frame of doing nothing: EnvPool cannot do without. It presses FIRE in another way.
    settings |= {"noop_max": 1, "fire_on_reset": False, "life_loss_ends": False}
    python, pool = (make(env, range(2), engine, **settings) for engine in ("python", "envpool"))
    assert isinstance(python, AtariEnvs)
    assert isinstance(pool, PoolEnvs)
    assert (pool.obs_spec, pool.action_spec) == (python.obs_spec, python.action_spec)
    np.testing.assert_array_equal(pool.reset(), python.reset())
    random, points, num = np.random.default_rng(0), 0.0, python.action_spec.num_actions
    for _ in range(steps):
        actions = random.integers(num, size=2)
        one, other = python.step(actions), pool.step(actions)
        np.testing.assert_array_equal(one.rewards, other.rewards)
        np.testing.assert_array_equal(one.terminated, other.terminated)
        if one.terminated.any():
            break  # the next episode's beginning is drawn by other generators
        np.testing.assert_array_equal(one.obs, other.obs)
        points += np.abs(one.rewards).sum()
    assert points > 0


def test_what_an_environment_does_depends_on_its_index_alone():
    settings = {"sticky_actions": 0.25, "max_episode_frames": 600}
    whole, part = (make("atari:Breakout", i, "envpool", **settings) for i in (range(4), (2, 3)))
    threaded = make("atari:Breakout", range(4), "envpool", engine_threads=3, **settings)
    first = whole.reset()
    np.testing.assert_array_equal(first[2:], part.reset())
    np.testing.assert_array_equal(first, threaded.reset())
    assert len({obs.tobytes() for obs in first}) > 1
    random, ends = np.random.default_rng(1), 0
    for _ in range(300):
        actions = random.integers(4, size=4)
        result, second, third = whole.step(actions), part.step(actions[2:]), threaded.step(actions)
        for name in ("obs", "rewards", "terminated", "truncated", "life_lost"):
            np.testing.assert_array_equal(getattr(result, name)[2:], getattr(second, name))
            np.testing.assert_array_equal(getattr(result, name), getattr(third, name))
        ends += int(result.terminated.sum() + result.truncated.sum())
    assert ends > 0


def test_a_lost_life_is_no_end_of_the_game_and_a_cut_shows_the_last_observation():
    envs = make("atari:Breakout", range(3), "envpool", max_episode_frames=640)
    envs.reset()
    random, lives, ends, cuts = np.random.default_rng(2), 0, 0, 0
    for _ in range(700):
        before = envs.observe()
        result = envs.step(random.integers(4, size=3))
        assert not (result.terminated & result.truncated).any()
        assert not (result.terminated & result.life_lost).any()
        assert set(result.final_obs) == set(np.flatnonzero(result.truncated))
        for slot, final in result.final_obs.items():  # three of its frames are those of before
            np.testing.assert_array_equal(final[..., :3], before[slot, ..., 1:])
            assert (result.obs[slot] != final).any()
        assert set(result.last_obs) == set(np.flatnonzero(result.terminated | result.life_lost))
        for slot, last in result.last_obs.items():
            np.testing.assert_array_equal(last[..., :3], before[slot, ..., 1:])
        lives, ends = lives + result.life_lost.sum(), ends + result.terminated.sum()
        cuts += len(result.final_obs)
    assert ends > 0
    assert cuts > 0
    assert lives >= 4 * ends  # five lives, the last of which ends the game


def test_a_resumed_run_begins_fresh_episodes_by_its_iteration():
    starts = []
    for iteration in (1, 2, 1):
        envs = make("atari:Breakout", range(3), "envpool")
        assert envs.get_states() == [None] * 3
        assert envs.set_states([None] * 3, iteration) == [0, 1, 2]
        starts.append(envs.observe())
    assert (starts[0] != starts[1]).any()
    np.testing.assert_array_equal(starts[0], starts[2])
    with pytest.raises(CheckpointError, match="EnvPool's, which cannot be saved"):
        envs.set_states([b"x", None, None])


def test_evaluation_is_played_on_the_emulator_and_auto_takes_it_for_training():
    assert isinstance(make("atari:Pong", [0], "envpool", "evaluate"), AtariEnvs)
    assert isinstance(make("atari:Pong", [0], "auto"), AtariEnvs)


@pytest.mark.parametrize(
    ("env", "settings", "what"),
    [
        ("Pong-ram-v4", {"frame_skip": 4}, "atari_obs=ram"),
        ("Pong-v4", {}, "a frame_skip that is drawn"),
        ("atari:Pong", {"noop_max": 0}, "noop_max=0"),
        ("atari:Pong", {"stack_skipped_frames": True}, "stack_skipped_frames=true"),
        ("atari:Pong", {"max_over_frames": False}, "max_over_frames=false"),
    ],
)
def test_what_envpool_cannot_do_is_refused(env, settings, what):
    with pytest.raises(ConfigError, match=f"envpool does not know {what}"):
        make(env, [], "envpool", **settings)


def test_envpool_is_not_filmed_as_another_engine_would_play_in_its_place():
    values = {"env": "atari:Pong", "atari_engine": "envpool", "capture_video": 5}
    resources = Resources.of(TrainConfig(), torch.device("cpu"), 1)
    for indices in ((0, 1), (2, 3), ()):  # on every rank
        with pytest.raises(ConfigError, match="capture_video=5, but EnvPool draws nothing"):
            make_parts(with_values(TrainConfig(), values), indices, False, resources)
    make_parts(with_values(TrainConfig(), values), (0,), True, resources).close()
    values["env"] = "CartPole-v1"
    make_parts(with_values(TrainConfig(), values), (0,), False, resources).close()


def test_the_benchmark_measures_every_engine():
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "atari.py"
    words = ("--num-envs", "2", "--steps", "5", "--rounds", "1")
    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["Pong,", "python", "envpool", "gymnasium"]
