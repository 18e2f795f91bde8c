"""Environments of the old package gym that can save their episodes, and those that MuJoCo draws."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from env_checks import assert_goes_on_exactly, needs_egl
from jobs import run_job

pytest.importorskip("gymnasium")
pytest.importorskip("gym")

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.errors import CheckpointError, ConfigError, MissingPackageError
from ppo_mpi.suites import make_envs

SOURCE = '''
import random
import gym, numpy as np

class Before021(gym.Env):
    """Draws from Python's and numpy's global numbers and from a generator of the old kind."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.np_random = np.random.RandomState(0)

    def seed(self, seed=None):
        self.np_random.seed(seed)
        return [seed]

    def reset(self):
        self.at = np.array([self.np_random.randn(), random.gauss(0, 1), np.random.randn()])
        return self.at.astype(np.float32)

    def step(self, action):
        self.at += [self.np_random.randn(), random.gauss(0, 1), np.random.randn()]
        self.at[0] += action[0]
        over = abs(self.at[0]) > 4
        return self.at.astype(np.float32), float(self.at[1]), bool(over), {}

    def render(self, mode="human"):
        return np.full((4, 4, 3), 99, np.uint8)

class Saved021(Before021):
    def save_episode(self):
        return {"at": self.at.tolist()}

    def check_episode(self, state):
        if len(state["at"]) != 3:
            raise ValueError("it has not three numbers")

    def load_episode(self, state):
        random.random(), np.random.rand()  # must cost the environment nothing
        self.at = np.array(state["at"])

class Since026(gym.Env):
    """As gym 0.26 has them."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal()
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place += self.np_random.normal() + 2 * action - 1
        over = bool(abs(self.place) > 9)
        return np.array([self.place], np.float32), self.place, over, False, {}

    def save_episode(self):
        return self.place

    def load_episode(self, state):
        if abs(state) > 1000:
            raise ValueError("it is out of the way")
        self.place = state

class Plain:
    """Built like those of gym, without being one."""

    def __init__(self):
        self.env = Saved021()
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self.reset, self.step, self.seed = self.env.reset, self.env.step, self.env.seed
        self.render = self.env.render

    def save_episode(self):
        # numpy's old generator is this environment's own matter: nothing here has its name
        _, key, *rest = self.env.np_random.get_state()
        return [self.env.save_episode(), key.tolist(), *rest]

    def load_episode(self, state):
        self.env.load_episode(state[0])
        self.env.np_random.set_state(("MT19937", *state[1:]))

class Unwilling(Saved021):
    def save_episode(self):
        return None

def limited():
    from gym.wrappers import TimeLimit
    return TimeLimit(Since026(), 7)

def wrapped():
    from gym.wrappers import FrameStack
    return FrameStack(Since026(), 2)
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a folder with a module of environments."""
    (tmp_path / "of_old.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("of_old", None)


def make(env: str, indices: Sequence[int], seed: int = 3, **named: Any) -> VecEnvs:
    return make_envs(with_values(TrainConfig(), {"env": env}), indices, seed, "train", **named)


@pytest.mark.parametrize("name", ["Saved021", "Since026", "Plain", "limited"])
def test_an_episode_that_can_be_saved_goes_on_exactly(name: str) -> None:
    assert_goes_on_exactly(lambda i, seed: make(f"of_old:{name}", i, seed), 4, 120, least_ends=3)


@pytest.mark.parametrize("name", ["Before021", "Unwilling", "wrapped"])
def test_others_are_not_saved(name: str) -> None:
    envs = make(f"of_old:{name}", [0, 1])
    envs.reset()
    assert envs.get_states() == [None, None]


def changed(state: bytes, **episode: Any) -> bytes:
    saved = json.loads(state)
    saved["episode"] |= episode
    return json.dumps(saved).encode()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("Saved021", {"own": {"at": [1.0]}}, "it has not three numbers"),
        (
            "Saved021",
            {"python": [3, [1] * 624 + [625], None]},
            "not the state of a Mersenne twister",
        ),
        ("Saved021", {"python": [9, [1] * 624 + [5], None]}, "state with version 9"),
        ("Saved021", {"python": [3, [1] * 625]}, "ValueError"),
        ("Saved021", {"numpy": {"state": {"key": [1] * 624, "pos": 700}}}, "not the state of a M"),
        ("Saved021", {"numpy": {"state": {"key": [2**32] * 624, "pos": 0}}}, "not the state of a "),
        ("Saved021", {"generator": None}, "its generator is of another kind"),
        ("Since026", {"limit": [4]}, "its time limits stand at"),
        ("limited", {"limit": [-1]}, "its time limits stand at"),
        ("limited", {"limit": 5}, "TypeError"),
    ],
)
def test_a_damaged_episode_is_refused_before_anything_is_changed(
    name: str, change: dict[str, Any], message: str
) -> None:
    envs = make(f"of_old:{name}", [0, 1])
    envs.reset()
    before = envs.get_states()
    assert before[0] is not None
    assert before[1] is not None
    with pytest.raises(CheckpointError, match="environment 1 is damaged") as caught:
        envs.set_states([before[0], changed(before[1], **change)])
    assert message in str(caught.value)
    assert envs.get_states() == before


def test_a_state_of_another_class_is_refused() -> None:
    one, other = make("of_old:Saved021", [0]), make("of_old:Since026", [0])
    one.reset()
    other.reset()
    with pytest.raises(CheckpointError, match="of_old:Saved021.*this environment.*of_old:Since026"):
        other.set_states(one.get_states())


def test_a_state_that_the_environment_refuses_is_no_checkpoint() -> None:
    envs = make("of_old:Since026", [0])
    envs.reset()
    state = envs.get_states()[0]
    assert state is not None
    with pytest.raises(CheckpointError, match="Since026 does not take its saved episode: it is o"):
        envs.set_states([changed(state, own=1e9)])


@pytest.mark.parametrize("name", ["Saved021", "limited"])
def test_a_run_that_was_stopped_goes_on_to_the_bit(folder: Path, name: str) -> None:
    train = ["train", f"of_old:{name}", "--num-envs", "2", "--rollout-timesteps", "64",
             "--num-minibatches", "2", "--display", "off", "--checkpoint-dir", "runs"]  # fmt: skip
    run_job(0, *train, "--run", "whole", "--total-timesteps", "192", cwd=folder)
    run_job(0, *train, "--run", "cut", "--total-timesteps", "64", cwd=folder)
    run_job(2, *train, "--run", "cut", "--total-timesteps", "192", cwd=folder)
    whole, cut = (
        [row.split(",") for row in (folder / "runs" / run / "episodes.csv").read_text().split()]
        for run in ("whole", "cut")
    )
    assert len(whole) > 6
    assert len(whole) == len(cut)
    names = whole[0]
    for column in ("env", "return", "length"):
        place = names.index(next(name for name in names if column in name))
        assert [row[place] for row in whole] == [row[place] for row in cut]


@needs_egl
def test_mujocos_pictures_are_the_same_in_any_thread() -> None:
    pytest.importorskip("mujoco")
    envs = [make("oldgym:HalfCheetah-v4", [index], render=True) for index in (0, 1)]
    for env in envs:
        env.reset()
    here = [env.render()[0] for env in envs]
    assert all(frame.std() > 10 for frame in here)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            for frame, again in zip(here, threads.map(lambda e: e.render()[0], envs), strict=True):
                np.testing.assert_array_equal(frame, again)
    for env in envs:
        env.close()


def test_ids_that_need_an_old_mujoco_lead_to_gymnasiums() -> None:
    pytest.importorskip("mujoco")
    remedy = "without oldgym: in front"
    with pytest.raises(MissingPackageError, match=f"mujoco_py.*use Hopper-v3.*{remedy}"):
        make("oldgym:Hopper-v3", [0])
    with pytest.raises(
        ConfigError, match=f"oldgym:Hopper-v4 cannot be made: .*Hopper-v4.*{remedy}"
    ):
        make("oldgym:Hopper-v4", [0])
