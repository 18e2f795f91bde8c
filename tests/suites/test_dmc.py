"""The DeepMind Control Suite: observations, ends, streams, exact states, pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dm_control")

from dm_control import suite
from env_checks import (
    assert_goes_on_exactly,
    assert_same_in_threads,
    assert_streams_by_index,
    needs_egl,
    random_actions,
)
from jobs import job_environment

from ppo_mpi.envs import mujoco_rendering
from ppo_mpi.envs.base import Box, ObservationSpec, VecEnvs
from ppo_mpi.envs.dmc import make_envs
from ppo_mpi.errors import CheckpointError, ConfigError, MissingPackageError
from ppo_mpi.seeding import stream_seed

TASKS = ["/".join(pair) for pair in suite.ALL_TASKS]
SLOW = ("dog", "quadruped", "humanoid_CMU")
PIXELS = ("pixels=true", "size=32")
MADE: list[VecEnvs] = []


def make(
    task: str, indices: Sequence[int], seed: int = 3, *env_kwargs: str, **named: Any
) -> VecEnvs:
    envs = make_envs(task, indices, seed, options={"env_kwargs": env_kwargs}, **named)
    MADE.append(envs)
    return envs


@pytest.fixture(autouse=True)
def close_all() -> Iterator[None]:
    """Close what a test has made: other suites draw in this process, and end it for all."""
    yield
    while MADE:
        MADE.pop().close()


def native(task: str, seed: int) -> Any:
    """Return dm_control's own environment, with a stream seeded by ``seed``."""
    random = np.random.RandomState(0)
    env = suite.load(*task.split("/"), task_kwargs={"random": random})
    random.seed(seed)
    return env


def flat(result: Any) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in result.observation.values()])


def test_steps_are_dm_controls_own() -> None:
    envs, env = make("walker/walk", [5]), native("walker/walk", stream_seed(3, "train:reset", 5))
    assert envs.obs_spec == ObservationSpec((24,), "float32")
    assert envs.action_spec == Box((-1.0,) * 6, (1.0,) * 6)
    np.testing.assert_array_equal(envs.reset()[0], flat(env.reset()).astype(np.float32))
    rewards = []
    for actions in random_actions(envs, 40):
        result, own = envs.step(actions), env.step(np.clip(actions[0], -1, 1))
        np.testing.assert_array_equal(result.obs[0], flat(own).astype(np.float32))
        assert result.rewards[0] == np.float32(own.reward)
        rewards.append(own.reward)
    assert any(rewards)


def test_the_time_limit_cuts_short_and_shows_the_true_final_observation() -> None:
    envs = make("cartpole/balance", [5], 3, "time_limit=0.5")
    env = native("cartpole/balance", stream_seed(3, "train:reset", 5))
    envs.reset()
    own = env.reset()
    for step in range(1, 51):
        result, own = envs.step(np.zeros((1, 1), np.float32)), env.step(np.zeros(1))
        assert result.truncated.tolist() == [step == 50]  # 0.5 s of 10 ms
        assert not result.terminated.any()
    np.testing.assert_array_equal(result.final_obs[0], flat(own).astype(np.float32))
    # The next episode goes on with the stream.
    np.testing.assert_array_equal(result.obs[0], flat(env.reset()).astype(np.float32))


def test_an_end_with_discount_0_terminates() -> None:
    """A linear system's episode ends for good once it has come to rest."""
    envs = make("lqr/lqr_2_1", [0])
    envs.reset()
    inner = envs._envs[0]._env
    ended = []
    for _ in range(5):
        with inner.physics.reset_context():
            inner.physics.data.qpos[:] = 0
        result = envs.step(np.zeros((1, 1), np.float32))
        ended.append(bool(result.terminated[0]))
        assert not result.truncated.any()
        assert not result.final_obs
    assert all(ended)


@pytest.mark.parametrize("task", ["cartpole/swingup", "finger/turn_hard", "fish/swim"])
def test_environments_have_streams_by_index(task: str) -> None:
    assert_streams_by_index(
        lambda indices, seed: make(task, indices, seed, "time_limit=1"), 120, least_ends=3
    )


@pytest.mark.parametrize(
    "task", [pytest.param(t, marks=pytest.mark.faults if t.startswith(SLOW) else ()) for t in TASKS]
)
def test_saved_episodes_go_on_exactly(task: str) -> None:
    assert_goes_on_exactly(
        lambda indices, seed: make(task, indices, seed, "time_limit=0.8"), 17, 90, least_ends=1
    )


def test_a_slow_tasks_episode_goes_on_exactly() -> None:
    """Its ground, a field of heights, is another in every episode."""
    assert_goes_on_exactly(
        lambda indices, seed: make("quadruped/escape", indices, seed, "time_limit=0.4"), 7, 30, 1
    )


@needs_egl
def test_states_of_pixels_go_on_exactly() -> None:
    assert_goes_on_exactly(
        lambda indices, seed: make("reacher/easy", indices, seed, "time_limit=0.3", *PIXELS),
        5, 20, least_ends=1,
    )  # fmt: skip


def test_damaged_states_and_those_of_others_are_refused_before_anything_changes() -> None:
    envs, other = make("reacher/easy", [3]), make("reacher/hard", [3])
    envs.reset()
    other.reset()
    shown = envs.step(np.ones((1, 2), np.float32)).obs
    saved = json.loads(envs.get_states()[0] or b"")

    def refused(message: str, **changed: Any) -> None:
        state = {**saved, "episode": {**saved["episode"], **changed}}
        with pytest.raises(CheckpointError, match=message):
            envs.set_states([json.dumps(state).encode()])
        np.testing.assert_array_equal(envs.observe(), shown)

    refused(
        "integration has 3 bytes", physics={**saved["episode"]["physics"], "integration": "AAAA"}
    )
    refused("changes what no task changes", model={"body_parentid": "AAAA"})
    refused("changes what no task changes", model={"nq": "AAAA"})
    refused("its episode has -1 steps", steps=-1)
    key = saved["episode"]["random"]
    refused("its random stream is none", random=[key[0], 625, 0, 0.0])
    refused("its random stream is none", random=[key[0][:-1], 3, 0, 0.0])
    refused("its random stream is none", random=[[2**32, *key[0][1:]], 3, 0, 0.0])
    refused("its task has the numbers", task={})
    refused("is damaged: KeyError", physics={})
    with pytest.raises(CheckpointError, match="reacher/hard.*this environment"):
        envs.set_states(other.get_states())
    np.testing.assert_array_equal(envs.observe(), shown)


@needs_egl
def test_pixels_are_what_the_camera_sees() -> None:
    envs = make("cartpole/balance", [0, 1], 3, *PIXELS, "frame_skip=4")
    assert envs.obs_spec == ObservationSpec((32, 32, 3), "uint8")
    first = envs.reset()
    assert first.std() > 5
    own = mujoco_rendering.draw(envs._envs[0]._env.physics.render, 32, 32, 0)
    np.testing.assert_array_equal(first[0], own)
    other = make("cartpole/balance", [0], 3, "pixels=true", "size=32", "camera=lookatcart")
    assert not np.array_equal(other.reset()[0], first[0])
    moved = envs.step(np.ones((2, 1), np.float32)).obs
    assert not np.array_equal(moved[0], first[0])


@needs_egl
def test_it_does_not_matter_which_thread_asks_for_a_picture() -> None:
    envs, same = (make("cartpole/balance", [0, 1], 3, *PIXELS) for _ in range(2))
    np.testing.assert_array_equal(envs.reset(), same.reset())
    for actions in random_actions(envs, 4):
        with ThreadPoolExecutor(1) as other:  # as where environments take turns
            shown = other.submit(envs.step, actions).result().obs
        np.testing.assert_array_equal(shown, same.step(actions).obs)
    with ThreadPoolExecutor(1) as other:
        other.submit(envs.close).result()
    same.close()


def test_an_action_is_held_and_its_rewards_are_added() -> None:
    held, single = make("walker/walk", [0], 3, "frame_skip=4"), make("walker/walk", [0])
    held.reset()
    single.reset()
    for actions in random_actions(held, 10):
        result = held.step(actions)
        parts = [single.step(actions) for _ in range(4)]
        np.testing.assert_array_equal(result.obs, parts[-1].obs)
        assert result.rewards[0] == pytest.approx(sum(p.rewards[0] for p in parts), rel=1e-6)
    assert result.rewards[0] > 0


@needs_egl
def test_frames_are_pictures_of_each_slot() -> None:
    envs = make("walker/walk", [0, 1], render=True)
    envs.reset()
    frames = envs.render()
    assert [(frame.shape, frame.dtype) for frame in frames] == [((480, 480, 3), np.uint8)] * 2
    assert not np.array_equal(frames[0], frames[1])


@needs_egl
def test_threads_draw_several_at_the_same_time() -> None:
    assert_same_in_threads(lambda i, seed: make("walker/walk", i, seed, *PIXELS), 10)


@needs_egl
@pytest.mark.parametrize("drawn", ["dmc", "dmc gym", "gym dmc", "dmc gym dmc", "gym dmc gym"])
def test_what_nobody_closed_is_freed_without_a_word(drawn: str) -> None:
    """Gymnasium's environments of MuJoCo draw on the same display, and end it as well."""
    code = (
        "from ppo_mpi.envs import dmc, gym_control\n"
        "for number, name in enumerate('" + drawn + "'.split()):\n"
        "    if name == 'dmc':\n"
        "        options = {'env_kwargs': ['pixels=true']}\n"
        "        envs = dmc.make_envs('walker/walk', [0, 1], 3, options=options)\n"
        "        envs.reset()\n"
        "    else:\n"
        "        envs = gym_control.make_envs('Hopper-v5', [0, 1], 3, render=True, options={})\n"
        "        envs.reset(), envs.render()\n"
        "    globals()[f'kept{number}'] = envs"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=job_environment(),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("task", "env_kwargs", "message"),
    [
        ("hoper/stand", (), "unknown task of the DeepMind Control Suite 'hoper/stand'; did you m"),
        ("hopper", (), "unknown task of the DeepMind Control Suite 'hopper'"),
        ("hopper/stand", ("speed=3",), "dmc:hopper/stand does not take env_kwargs (speed=3): "),
        ("hopper/stand", ("pixels=maybe",), "env_kwargs: pixels='maybe' is neither true nor fa"),
        ("hopper/stand", ("size=4000",), "env_kwargs: size=4000 is not a whole number from 1 to"),
        ("hopper/stand", ("frame_skip=0",), "env_kwargs: frame_skip=0 is not a whole number"),
        ("hopper/stand", ("pixels=true", "camera=7"), "camera=7 is none of dmc:hopper/stand; use"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_clear_message(
    task: str, env_kwargs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(task, [0], 3, *env_kwargs)
    assert message in str(caught.value)


def test_missing_packages_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(MissingPackageError, match='needs dm_control .*install "ppo_mpi.dmc.'):
        make("hopper/stand", [0])


def test_a_machine_that_cannot_draw_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(mujoco_rendering.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(MissingPackageError, match="libEGL or libOSMesa here: apt install libegl1"):
        make("hopper/stand", [0], 3, "pixels=true")
    make("hopper/stand", [0]).reset()  # numbers need none


def test_no_environments_still_have_spaces() -> None:
    envs = make("pendulum/swingup", [])
    assert envs.reset().shape == (0, 3)
    assert envs.step(np.zeros((0, 1), np.float32)).obs.shape == (0, 3)
