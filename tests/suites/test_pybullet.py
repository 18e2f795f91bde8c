"""PyBullet's own environments: streams, time limits, simulations and random numbers apart."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from jobs import job_environment

pytest.importorskip("pybullet")
if sys.version_info >= (3, 12):
    pytest.skip("pybullet_envs needs Python 3.11 or before", allow_module_level=True)

from env_checks import assert_same_in_threads, assert_streams_by_index, random_actions

from ppo_mpi.envs import pybullet as suite
from ppo_mpi.envs.base import Box, Discrete, ObservationSpec, VecEnvs
from ppo_mpi.envs.pybullet import make_envs
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.seeding import stream_seed

# Quick ones; those of Kuka share a simulation, racecars draw from Python's random numbers, the
# duck's Minitaur from numpy's.
QUICK = {
    "HopperBulletEnv-v0": 100,
    "InvertedPendulumSwingupBulletEnv-v0": 50,
    "CartPoleBulletEnv-v1": 100,
    "KukaBulletEnv-v0": 30,
    "MinitaurBulletEnv-v0": 12,
    "RacecarBulletEnv-v0": 8,
}
# Each with the steps of the check. HumanoidFlagrunHarderBulletEnv-v0 is missing: at times Bullet
# itself calculates its flying cube's contacts differently (in 1 of 150 runs of 60 steps).
SLOW = {
    "CartPoleContinuousBulletEnv-v0": 50, "MinitaurBulletDuckEnv-v0": 12,
    "RacecarZedBulletEnv-v0": 3, "KukaCamBulletEnv-v0": 4, "KukaDiverseObjectGrasping-v0": 9,
    "InvertedPendulumBulletEnv-v0": 50, "InvertedDoublePendulumBulletEnv-v0": 50,
    "ReacherBulletEnv-v0": 40, "PusherBulletEnv-v0": 20, "ThrowerBulletEnv-v0": 20,
    "Walker2DBulletEnv-v0": 50, "HalfCheetahBulletEnv-v0": 50, "AntBulletEnv-v0": 50,
    "HumanoidBulletEnv-v0": 30, "HumanoidFlagrunBulletEnv-v0": 30,
    "HumanoidDeepMimicWalkBulletEnv-v1": 4,
    "HumanoidDeepMimicBackflipBulletEnv-v1": 4,
}  # fmt: skip
ALL = QUICK | SLOW


def make(
    task: str, indices: Sequence[int], seed: int = 3, *env_kwargs: str, **named: Any
) -> VecEnvs:
    return make_envs(task, indices, seed, options={"env_kwargs": env_kwargs}, **named)


@pytest.mark.parametrize(
    "task", [pytest.param(t, marks=pytest.mark.faults if t in SLOW else ()) for t in ALL]
)
def test_environments_have_streams_by_index(task: str) -> None:
    num_ends = {"HopperBulletEnv-v0": 3, "CartPoleBulletEnv-v1": 3}.get(task, 0)
    starts_alike = task.startswith(("Minitaur", "HumanoidDeepMimic", "RacecarZed"))
    assert_streams_by_index(
        lambda indices, seed: make(task, indices, seed), ALL[task], num_ends, starts_alike
    )


def test_steps_are_those_of_pybullets_own_class_and_its_limit_cuts_short() -> None:
    envs = make("ReacherBulletEnv-v0", [0, 4])
    assert envs.obs_spec == ObservationSpec((9,), "float32")
    assert envs.action_spec == Box((-1.0, -1.0), (1.0, 1.0))
    _, kind = suite._find("ReacherBulletEnv-v0")
    with suite.silent_output():
        env = kind()
        env.seed(stream_seed(3, "train:reset", 4))
        obs = env.reset()
        shown = envs.reset()
    np.testing.assert_array_equal(shown[1], obs.astype(np.float32))
    for step, actions in enumerate(random_actions(envs, 310), start=1):
        result = envs.step(actions)
        obs, reward, done, _ = env.step(np.clip(actions[1], -1, 1))
        assert not done
        assert result.rewards[1] == np.float32(reward)
        assert result.truncated.tolist() == [step % 150 == 0] * 2  # as registered
        assert not result.terminated.any()
        if step % 150 == 0:
            np.testing.assert_array_equal(result.final_obs[1], obs.astype(np.float32))
            with suite.silent_output():
                obs = env.reset()
        np.testing.assert_array_equal(result.obs[1], obs.astype(np.float32))
    env.close()


def test_a_fall_is_an_end() -> None:
    envs = make("CartPoleBulletEnv-v1", [0])
    assert envs.action_spec == Discrete(2)
    envs.reset()
    results = [envs.step(np.ones(1, np.int64)) for _ in range(60)]
    assert sum(bool(result.terminated[0]) for result in results) >= 2
    assert not any(result.truncated[0] for result in results)


def test_a_racecar_that_runs_out_of_its_own_time_is_cut_short() -> None:
    envs = make("RacecarBulletEnv-v0", [0])
    envs.reset()
    results = [envs.step(np.zeros((1, 2), np.float32)) for _ in range(21)]
    assert [i for i, result in enumerate(results) if result.truncated[0]] == [20]  # 1000 / 50
    assert results[-1].final_obs
    assert not any(result.terminated[0] for result in results)


def test_the_processes_own_random_numbers_stay_untouched() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.getstate(), np.random.get_state()[1]
    for task in ("RacecarBulletEnv-v0", "KukaBulletEnv-v0", "MinitaurBulletEnv-v0"):
        envs = make(task, [0])
        envs.reset()
        envs.step(random_actions(envs, 1)[0])
        envs.close()
    assert random.getstate() == expected[0]
    np.testing.assert_array_equal(np.random.get_state()[1], expected[1])


def test_several_kukas_live_in_one_process_and_one_may_go() -> None:
    envs, gone = make("KukaBulletEnv-v0", [0, 1]), make("KukaBulletEnv-v0", [7])
    alone = make("KukaBulletEnv-v0", [1])
    obs, other = envs.reset(), alone.reset()
    gone.reset()
    np.testing.assert_array_equal(obs[1], other[0])
    assert not np.array_equal(obs[0], obs[1])
    gone.close()
    del gone
    for actions in random_actions(envs, 5):
        result, own = envs.step(actions), alone.step(actions[1:])
        np.testing.assert_array_equal(result.obs[1], own.obs[0])
    envs.close()
    alone.close()


@pytest.mark.parametrize("task", ["KukaBulletEnv-v0", "MinitaurBulletEnv-v0"])
def test_threads_step_several_at_the_same_time(task: str) -> None:
    assert_same_in_threads(lambda indices, seed: make(task, indices, seed), 12)


@pytest.mark.parametrize("task", ["HopperBulletEnv-v0", "RacecarBulletEnv-v0", "KukaBulletEnv-v0"])
def test_frames_are_pictures(task: str) -> None:
    envs = make(task, [0], render=True)
    envs.reset()
    (frame,) = envs.render()
    assert frame.dtype == np.uint8
    assert frame.shape in ((240, 320, 3), (720, 960, 3))
    assert frame.std() > 20
    envs.close()


def test_pictures_declared_as_real_numbers_are_whole_numbers() -> None:
    envs = make("KukaDiverseObjectGrasping-v0", [0], 3, "numObjects=1")
    assert envs.obs_spec == ObservationSpec((48, 48, 3), "uint8")
    assert envs.reset().std() > 5
    envs.close()


def test_an_episode_cannot_be_saved_and_begins_anew() -> None:
    envs = make("HopperBulletEnv-v0", [0, 1])
    first = envs.reset()
    assert envs.get_states() == [None, None]
    other = make("HopperBulletEnv-v0", [0, 1])
    assert other.set_states([None, None], 7) == [0, 1]
    assert not np.array_equal(other.observe(), first)


def test_nothing_is_printed_and_gym_is_left_as_it_was() -> None:
    code = (
        "import gym_notices.notices as n; n.notices.clear(); import gym\n"
        "before = dict(gym.envs.registration.registry)\n"
        "from ppo_mpi.envs.pybullet import make_envs\n"
        "import sys\n"
        "for task in ('HopperBulletEnv-v0', 'RacecarBulletEnv-v0', 'KukaBulletEnv-v0'):\n"
        "    envs = make_envs(task, [0], 3, options={})\n"
        "    envs.reset(); envs.close()\n"
        "assert gym.envs.registration.registry == before\n"
        "assert type(gym.envs.registration.registry) is dict\n"
        "assert 'pkg_resources' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=job_environment(),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("task", "env_kwargs", "error", "message"),
    [
        ("HoperBulletEnv-v0", (), ConfigError, "unknown environment of PyBullet 'HoperBulletEnv-v"),
        ("HopperBulletEnv-v0", ("a=1",), ConfigError, "pybullet:HopperBulletEnv-v0 does not take "),
        ("MinitaurReactiveEnv-v0", (), MissingPackageError, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTAT"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_clear_message(
    task: str, env_kwargs: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        make(task, [0], 3, *env_kwargs)
    assert message in str(caught.value)


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("pybullet")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pybullet_envs", None)
    with pytest.raises(MissingPackageError, match='needs PyBullet .*install "ppo_mpi.pybullet.'):
        make("HopperBulletEnv-v0", [0])


def test_a_python_without_pybullet_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite.sys, "version_info", (3, 12, 0))
    with pytest.raises(MissingPackageError, match="there for Python 3.10 and 3.11 only"):
        make("HopperBulletEnv-v0", [0])
