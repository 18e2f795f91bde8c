"""Gymnasium's MuJoCo and Box2D: old ids, exact states, ends."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")

import gymnasium
import yaml
from env_checks import assert_goes_on_exactly, assert_streams_by_index, needs_egl, random_actions
from jobs import run_job

from ppo_mpi.cli import parse_command
from ppo_mpi.env_names import MUJOCO_V4, RENAMED, renamed
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_control import make_envs
from ppo_mpi.envs.gym_making import make_env
from ppo_mpi.envs.mujoco_rendering import draw
from ppo_mpi.seeding import stream_seed

BOX2D = ["LunarLander-v3", "BipedalWalker-v3", "BipedalWalkerHardcore-v3"]


def make(
    task: str, indices: Sequence[int], seed: int = 3, *env_kwargs: str, **named: Any
) -> VecEnvs:
    return make_envs(task, indices, seed, options={"env_kwargs": env_kwargs}, **named)


# Numbers of an observation and of an action in the v2 and v3 of old.
OLD_SIZES = {
    "InvertedPendulum": (4, 1), "InvertedDoublePendulum": (11, 1), "HalfCheetah": (17, 6),
    "Hopper": (11, 3), "Swimmer": (8, 2), "Walker2d": (17, 6), "Reacher": (11, 2),
    "Ant": (111, 8), "Humanoid": (376, 17), "HumanoidStandup": (376, 17),
}  # fmt: skip


@pytest.mark.parametrize("name", MUJOCO_V4)
def test_an_old_id_stands_for_one_that_works_and_the_note_says_what_is_different(name: str) -> None:
    new, note = renamed(f"{name}-v2")
    assert new == f"{name}-v4"
    assert note.startswith(f"{name}-v2 is out of use in Gymnasium: {name}-v4 is taken, ")
    envs = make(new, [0])
    envs.reset()
    sizes = envs.obs_spec.shape[0], len(envs.action_spec.low)
    assert (sizes == OLD_SIZES[name]) == ("same observations" in note)
    assert ("27 numbers instead of 111" in note) == (sizes[0] == 27)
    assert np.isfinite(envs.step(random_actions(envs, 1)[0]).obs).all()


@pytest.mark.parametrize("old", RENAMED)
def test_every_other_old_id_stands_for_one_that_is_there(old: str) -> None:
    new, note = renamed(old)
    assert new in gymnasium.registry
    assert f"{new} is taken, " in note


@pytest.mark.parametrize("env", ["Hopper-v5", "HalfCheetah-v4", "CartPole-v0", "LunarLander-v3"])
def test_an_id_in_use_is_left_alone(env: str) -> None:
    assert renamed(env) == (env, "")
    assert [n for n in parse_command(["train", env]).notes if "out of use" in n] == []


def test_a_job_with_an_old_id_says_so_once_and_keeps_the_new_one(tmp_path: Path) -> None:
    words = ["train", "Reacher-v2", "--num-envs", "2", "--rollout-timesteps", "128",
             "--num-minibatches", "2", "--total-timesteps", "128"]  # fmt: skip
    done = run_job(2, *words, cwd=tmp_path)
    assert (done.stdout + done.stderr).count("Reacher-v2 is out of use in Gymnasium") == 1
    stored = yaml.safe_load((tmp_path / "checkpoints/Reacher-v4/config.yaml").read_text())
    assert stored["environment"]["env"] == "gym:Reacher-v4"
    again = run_job(0, *words, cwd=tmp_path)  # it is the same run
    assert "is finished" in again.stdout


# Ends of all slots in 210 steps; those that live longer reach no end.
EXACT = {"InvertedPendulum-v5": 10, "Reacher-v4": 8, "Hopper-v4": 4, "HalfCheetah-v5": 0,
         "Ant-v5": 0, "Humanoid-v5": 4, "Pusher-v5": 4}  # fmt: skip


@pytest.mark.parametrize("task", EXACT)
def test_saved_mujoco_episodes_go_on_exactly(task: str) -> None:
    assert_goes_on_exactly(lambda indices, seed: make(task, indices, seed), 7, 210, EXACT[task])


def test_nothing_is_printed_nor_written_by_mujoco(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make("HalfCheetah-v4", [0, 1]).reset()
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@needs_egl
def test_frames_are_pictures() -> None:
    envs = make("HalfCheetah-v5", [0, 1], render=True)
    envs.reset()
    frames = envs.render()
    assert [(frame.shape, frame.dtype) for frame in frames] == [((480, 480, 3), np.uint8)] * 2
    assert frames[0].std() > 20
    envs.close()


@needs_egl
def test_frames_are_the_same_from_every_thread() -> None:
    envs = make("HalfCheetah-v5", [0], render=True)
    envs.reset()
    (frame,) = envs.render()
    with ThreadPoolExecutor(1) as thread:
        np.testing.assert_array_equal(thread.submit(envs.render).result()[0], frame)
    envs.close()


@pytest.mark.parametrize("task", BOX2D)
def test_box2d_has_streams_by_index_and_begins_anew_where_it_cannot_be_saved(task: str) -> None:
    pytest.importorskip("Box2D")
    assert_streams_by_index(lambda i, seed: make(task, i, seed), 200, least_ends=1)
    envs = make(task, [0])
    envs.reset()
    assert envs.get_states() == [None]
    assert envs.set_states([None], 3) == [0]


@pytest.mark.parametrize("task", BOX2D)
def test_box2d_steps_are_gymnasiums_own(task: str) -> None:
    pytest.importorskip("Box2D")
    envs, env = make(task, [4]), gymnasium.make(task)
    obs, _ = env.reset(seed=stream_seed(3, "train:reset", 4))
    np.testing.assert_array_equal(envs.reset()[0], obs)
    actions = random_actions(envs, 300)
    ends = 0
    for action in actions:
        result = envs.step(action)
        own = np.clip(action[0], -1, 1) if action.ndim == 2 else action[0]
        obs, reward, ended, cut, _ = env.step(own)
        assert result.rewards[0] == np.float32(reward)
        assert (result.terminated[0], result.truncated[0]) == (ended, cut and not ended)
        if ended or cut:
            ends += 1
            obs, _ = env.reset()
        np.testing.assert_array_equal(result.obs[0], obs)
    assert ends >= 1


def test_box2ds_time_limit_cuts_short_with_the_true_final_observation() -> None:
    pytest.importorskip("Box2D")
    gymnasium.register(
        "ShortLander-v0",
        entry_point="gymnasium.envs.box2d.lunar_lander:LunarLander",
        max_episode_steps=20,
    )
    try:
        envs = make("ShortLander-v0", [0])
        envs.reset()
        results = [envs.step(np.zeros(1, np.int64)) for _ in range(20)]
    finally:
        del gymnasium.registry["ShortLander-v0"]
    assert [bool(result.truncated[0]) for result in results] == [False] * 19 + [True]
    assert not np.array_equal(results[-1].final_obs[0], results[-1].obs[0])


@needs_egl
@pytest.mark.parametrize("env", ["own_hopper:make", "own_hopper:OwnHopper-v0"])
def test_a_mujoco_environment_of_ones_own_is_drawn_without_a_display(
    env: str, tmp_path: Path
) -> None:
    (tmp_path / "own_hopper.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.mujoco.hopper_v5 import HopperEnv\n"
        "class OwnHopper(HopperEnv): pass\n"
        "gymnasium.register('OwnHopper-v0', 'own_hopper:OwnHopper')\n"
        "def make(**named): return gymnasium.make('Hopper-v5', **named)\n"
    )
    code = (
        "from ppo_mpi.config import TrainConfig, with_values\n"
        "from ppo_mpi.suites import make_envs\n"
        f"config = with_values(TrainConfig(), {{'env': '{env}'}})\n"
        "envs = make_envs(config, [0], 3, 'train', render=True)\n"
        "envs.reset()\n"
        "print(envs.render()[0].std() > 10)\n"
        "envs.close()\n"
    )
    hidden = ("DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")
    variables = {name: text for name, text in os.environ.items() if name not in hidden}
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, check=False, cwd=tmp_path,
        env=variables | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr
    assert done.stderr == ""


@needs_egl
@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Hopper-v5"])
def test_the_camera_follows_a_body_that_runs_away(env_id: str):
    env = make_env(env_id, {}, render=True)
    try:
        env.reset(seed=0)
        body = env.unwrapped
        near = draw(env.render)
        body.set_state(body.data.qpos + 40.0 * (np.arange(body.model.nq) == 0), body.data.qvel)
        far = draw(env.render)
    finally:
        draw(env.close)
    # The body is of the color of wood or of roses, the floor is black, green or gray.
    shown = [(frame[..., 0] > frame[..., 1].astype(int) + 20).mean() for frame in (near, far)]
    assert shown[0] > 0.003
    assert shown[1] == pytest.approx(shown[0], rel=0.3)


@needs_egl
def test_a_camera_that_was_chosen_stays():
    env = make_env("HalfCheetah-v5", {"default_camera_config": {"distance": 9.0}}, render=True)
    assert env.unwrapped.mujoco_renderer.camera_id == -1
    draw(env.close)
