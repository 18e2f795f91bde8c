"""Environments of the user's own, and those of the old package gym."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from env_checks import (
    assert_goes_on_exactly,
    assert_same_in_threads,
    assert_streams_by_index,
    random_actions,
)
from jobs import run_job

pytest.importorskip("gymnasium")

from gymnasium import spaces

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs import old_gym
from ppo_mpi.envs.base import Box, Discrete, ObservationSpec, VecEnvs
from ppo_mpi.envs.old_gym import OldEnv, Randomness, convert_space
from ppo_mpi.errors import CheckpointError, ConfigError, MissingPackageError
from ppo_mpi.suites import make_envs

SOURCE = '''
import random
import gymnasium, gym, numpy as np

class Walk(gymnasium.Env):
    """A walk to either end; its place is all there is to save."""

    def __init__(self, length=9, render_mode=None):
        self.length, self.render_mode = length, render_mode
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.wind = 0, self.np_random.normal()
        return self.look(), {}

    def look(self):
        return np.array([self.place / self.length, self.wind / 9], np.float32)

    def step(self, action):
        self.place += 2 * int(action) - 1
        self.wind += 0.01 * self.np_random.normal()
        return self.look(), self.wind, abs(self.place) >= self.length, False, {}

    def render(self):
        return np.full((8, 8, 3), 20 * abs(self.place), np.uint8)

class SavedWalk(Walk):
    def save_episode(self):
        return {"place": self.place, "wind": self.wind}

    def load_episode(self, state):
        if abs(state["place"]) > self.length:
            raise ValueError("it is out of the way")
        self.place, self.wind = state["place"], state["wind"]

def make_short(length: int = 3, limit: int = 5, **others):
    return gymnasium.wrappers.TimeLimit(Walk(length, **others), limit)

class Before021:
    """As gym had them up to 0.21, drawing from Python's random numbers as well."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.generator = np.random.RandomState(0)

    def seed(self, seed=None):
        self.generator.seed(seed)
        return [seed]

    def reset(self):
        self.t, self.at = 0, np.array([self.generator.rand(), random.random(), np.random.rand()])
        return self.at.copy()

    def step(self, action):
        assert action.shape == (1,) and abs(action[0]) <= 2
        self.t += 1
        self.at += [action[0], random.random(), np.random.rand()]
        info = {"TimeLimit.truncated": self.t == 4} if self.t >= 4 else {}
        return self.at.copy(), float(self.at[0]), self.t >= 4 or self.at[0] > 2, info

    def render(self, mode="human"):
        return np.full((4, 4, 3), 99, np.uint8) if mode == "rgb_array" else None

class Since026(Before021):
    seed = None

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.generator.seed(seed)
        return super().reset(), {}

    def step(self, action):
        obs, reward, done, info = super().step(action)
        cut = info.get("TimeLimit.truncated", False)
        return obs, reward, done and not cut, cut, info

def no_env():
    return 7

number = 3
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a folder with a package of environments."""
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "envs.py").write_text(SOURCE)
    (package / "broken.py").write_text("1 / 0\n")
    (package / "needy.py").write_text("import surely_not_installed\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == "mine"]:
        del sys.modules[name]


def make(env: str, indices: Sequence[int], seed: int = 3, *kwargs: str, **named: Any) -> VecEnvs:
    config = with_values(TrainConfig(), {"env": env, "env_kwargs": kwargs})
    return make_envs(config, indices, seed, "train", **named)


def test_a_class_and_a_function_of_gymnasium_make_environments() -> None:
    for env in ("mine.envs:Walk", "user:mine.envs:Walk"):
        envs = make(env, [0, 1])
        assert envs.obs_spec == ObservationSpec((2,), "float32")
        assert envs.action_spec == Discrete(2)
    envs.reset()
    ends = [envs.step(np.ones(2, np.int64)).terminated.all() for _ in range(9)]
    assert ends == [False] * 8 + [True]
    short = make("mine.envs:make_short", [0], 3, "length=100", "limit=4")
    short.reset()
    results = [short.step(np.ones(1, np.int64)) for _ in range(4)]
    assert [bool(r.truncated[0]) for r in results] == [False, False, False, True]
    assert results[-1].final_obs[0][0] == np.float32(0.04)
    assert results[-1].obs[0][0] == 0


@pytest.mark.parametrize("name", ["Walk", "Before021", "Since026"])
def test_environments_have_streams_by_index(name: str) -> None:
    assert_streams_by_index(
        lambda indices, seed: make(f"mine.envs:{name}", indices, seed), 300, least_ends=3
    )


def test_an_episode_that_can_be_saved_goes_on_exactly() -> None:
    assert_goes_on_exactly(
        lambda indices, seed: make("mine.envs:SavedWalk", indices, seed), 4, 300, least_ends=3
    )
    assert make("mine.envs:Walk", [0]).get_states() == [None]


def test_a_state_that_the_environment_refuses_is_no_checkpoint() -> None:
    envs = make("mine.envs:SavedWalk", [0])
    envs.reset()
    saved = json.loads(envs.get_states()[0] or b"")
    saved["episode"]["place"] = 99
    with pytest.raises(CheckpointError, match="SavedWalk does not take its saved episode: it is o"):
        envs.set_states([json.dumps(saved).encode()])


@pytest.mark.parametrize("name", ["Before021", "Since026"])
def test_both_old_manners_are_understood(name: str) -> None:
    envs = make(f"mine.envs:{name}", [0])
    assert envs.action_spec == Box((-2.0,), (2.0,))
    envs.reset()
    still = np.zeros((1, 1), np.float32)
    results = [envs.step(still) for _ in range(8)]
    assert [bool(r.truncated[0]) for r in results] == [False, False, False, True] * 2
    assert not any(r.terminated[0] for r in results)
    assert results[3].final_obs[0][1] > results[2].obs[0][1]
    ended = envs.step(np.full((1, 1), 9, np.float32))  # clipped to 2, beyond the end
    assert ended.terminated[0]
    assert not ended.final_obs


def test_both_old_manners_are_one_environment() -> None:
    one, two = make("mine.envs:Before021", [0]), make("mine.envs:Since026", [0])
    np.testing.assert_array_equal(one.reset(), two.reset())
    for actions in random_actions(one, 30):
        np.testing.assert_array_equal(one.step(actions).obs, two.step(actions).obs)


def test_frames_are_drawn_by_all_manners() -> None:
    for name, frame in (("Walk", (8, 8, 3)), ("make_short", (8, 8, 3)), ("Before021", (4, 4, 3))):
        envs = make(f"mine.envs:{name}", [0], render=True)
        envs.reset()
        assert envs.render()[0].shape == frame


@pytest.mark.parametrize(
    ("env", "kwargs", "error", "message"),
    [
        ("mine.envs:Wlk", (), ConfigError, "envs.py has no callable Wlk; it has Before021, "),
        ("mine.envs:number", (), ConfigError, "has no callable number"),
        ("mine.envs:no_env", (), ConfigError, "returned int, which has no reset, step, obs"),
        ("mine.envs:Walk", ("lenth=3",), ConfigError, "does not take env_kwargs (lenth=3): got an"),
        ("mine.nothing:Walk", (), ConfigError, "No module named 'mine.nothing'; run it in the fo"),
        ("nothing_here:Walk", (), ConfigError, "No module named 'nothing_here'; run it in the fo"),
        ("mine.broken:Walk", (), ConfigError, "mine.broken raised when it was imported: ZeroDivi"),
        ("mine.needy:Walk", (), MissingPackageError, "mine.needy needs a package that is not ins"),
        ("mine/envs.py:Walk", (), ConfigError, "is neither suite:name nor package.module:callabl"),
        ("coinrun", ("num_levels=5",), ConfigError, "options are settings of their own; use --num"),
        ("atari:Pong", ("frame_skip=2",), ConfigError, "their own; use --frame-skip 2"),
        ("coinrun", ("nim_levels=5",), ConfigError, "unknown Procgen argument 'nim_levels'; did "),
        ("probe:match", ("a=1",), ConfigError, "env_kwargs='a=1': unknown probe argument 'a'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_clear_message(
    env: str, kwargs: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        make(env, [0], 3, *kwargs)
    assert message in str(caught.value)


def test_arguments_are_of_the_types_of_yaml(folder: Path) -> None:
    (folder / "mine/asked.py").write_text(
        "from mine.envs import Walk\ngot = {}\n"
        "def make(**named):\n    got.update(named)\n    return Walk()\n"
    )
    words = ("i=3", "f=5e-4", "b=true", "n=null", "l=[1, 2]", "s=word", "e=")
    make("mine.asked:make", [0], 3, *words)
    from mine.asked import got  # type: ignore[import-not-found]

    assert got == {"i": 3, "f": 5e-4, "b": True, "n": None, "l": [1, 2], "s": "word", "e": None}


def test_spaces_of_gym_become_gymnasiums() -> None:
    gym = pytest.importorskip("gym")
    low = np.array([-1, -2], np.float64)
    parts = {
        "box": (
            gym.spaces.Box(low, -low, dtype=np.float64),
            spaces.Box(low, -low, dtype=np.float64),
        ),
        "one": (gym.spaces.Discrete(3, start=2), spaces.Discrete(3, start=2)),
        "many": (gym.spaces.MultiDiscrete([2, 5]), spaces.MultiDiscrete([2, 5])),
        "bits": (gym.spaces.MultiBinary(4), spaces.MultiBinary(4)),
    }
    for old, new in parts.values():
        assert convert_space("x", old) == new
    both = [[pair[i] for pair in parts.values()] for i in (0, 1)]
    assert convert_space("x", gym.spaces.Tuple(both[0])) == spaces.Tuple(both[1])
    named = [{name: pair[i] for name, pair in parts.items()} for i in (0, 1)]
    assert convert_space("x", gym.spaces.Dict(named[0])) == spaces.Dict(named[1])
    assert convert_space("x", spaces.Discrete(4)) == spaces.Discrete(4)
    picture = gym.spaces.Box(0, 255, (4, 5, 3))
    assert convert_space("x", picture) == spaces.Box(0, 255, (4, 5, 3), np.uint8)
    with pytest.raises(ConfigError, match="x has the space 3; known are Box"):
        convert_space("x", 3)


def test_global_random_numbers_are_each_environments_own() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1]
    one, two = Randomness(5), Randomness(5)
    with one:
        first = np.random.rand()
    with two:
        assert np.random.rand() == first
    with one:
        assert np.random.rand() != first
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_ids_of_the_old_registry_are_made_by_it() -> None:
    gym = pytest.importorskip("gym")
    envs = make("oldgym:CartPole-v1", [0, 1])
    env = envs._envs[0]
    assert isinstance(env, OldEnv)
    assert isinstance(env._env, gym.Env)
    assert_streams_by_index(lambda i, seed: make("oldgym:CartPole-v1", i, seed), 100, 3)
    pictures = make("oldgym:CartPole-v1", [0], render=True)
    pictures.reset()
    assert pictures.render()[0].shape == (400, 600, 3)
    # The newer gymnasium is the same game.
    new = make("gym:CartPole-v1", [0, 1])
    np.testing.assert_array_equal(envs.reset(), new.reset())
    with pytest.raises(ConfigError, match="unknown environment of gym 'CartPol-v1'; did you mean"):
        make("oldgym:CartPol-v1", [0])
    with pytest.raises(ConfigError, match="oldgym:CartPole-v1 does not take env_kwargs .a=1.: "):
        make("oldgym:CartPole-v1", [0], 3, "a=1")


def test_gym_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym", None)
    with pytest.raises(MissingPackageError, match='needs the package gym .*pip install "gym>=0.2'):
        old_gym.make_envs("CartPole-v1", [0], 0, options={})


def test_threads_step_several_that_draw_global_random_numbers(folder: Path) -> None:
    (folder / "mine/slow.py").write_text(
        "import random, time\nimport numpy as np\nfrom mine.envs import Before021\n"
        "class Slow(Before021):\n"
        "    def step(self, action):\n"
        "        first = random.random()\n"
        "        time.sleep(0.001)  # as one does that leaves the processor to others\n"
        "        obs, reward, done, info = super().step(action)\n"
        "        return obs, first + np.random.rand(), done, info\n"
    )
    assert_same_in_threads(lambda i, seed: make("mine.slow:Slow", i, seed), 20)


TRAIN = ["--num-envs", "2", "--rollout-timesteps", "64", "--num-minibatches", "2",
         "--display", "off", "--checkpoint-dir", "runs", "--run", "w"]  # fmt: skip


def test_a_run_in_an_environment_of_ones_own_is_shown_to_who_names_it(folder: Path) -> None:
    train = ["train", "mine.envs:SavedWalk", *TRAIN, "--total-timesteps"]
    run_job(2, *train, "64", cwd=folder)
    run_job(0, *train, "128", cwd=folder)
    where = ["--run", "w", "--checkpoint-dir", "runs"]
    for mode in (["evaluate", "--episodes", "2"], ["record", "--output", "v.mp4"]):
        unnamed = run_job(0, *mode, *where, cwd=folder, status=2)
        assert unnamed.stderr.count(
            "mine.envs:SavedWalk would be called; if you trust it, name it yourself: "
            "--env user:mine.envs:SavedWalk"
        ) == 1  # fmt: skip
        other = run_job(0, *mode, *where, "--env", "mine.envs:Walk", cwd=folder, status=2)
        assert "was trained in user:mine.envs:SavedWalk" in other.stderr
        run_job(0, *mode, *where, "--env", "mine.envs:SavedWalk", cwd=folder)
    assert (folder / "v.mp4").stat().st_size > 0
    unnamed = run_job(0, "train", *TRAIN, "--total-timesteps", "192", cwd=folder, status=2)
    assert "would be called" in unnamed.stderr
    shutil.rmtree(folder / "mine")
    gone = run_job(0, *train, "192", cwd=folder, status=2)
    # Which one depends on whether the module was looked for in this process before.
    assert re.search("neither a suite nor a module mine|No module named 'mine'", gone.stderr)
