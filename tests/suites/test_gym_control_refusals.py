"""What the Gymnasium suite refuses, and that it does so in one clear message."""

from __future__ import annotations

import json
import re
import sys
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")

import gymnasium

from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_control import GymEnvs, make_envs
from ppo_mpi.errors import (
    CheckpointError,
    ConfigError,
    FailedEnvironmentError,
    MissingPackageError,
)


def make(task: str, indices: list[int], *env_kwargs: str, **named: Any) -> VecEnvs:
    return make_envs(task, indices, 3, options={"env_kwargs": env_kwargs}, **named)


@pytest.mark.parametrize(
    ("task", "env_kwargs", "message"),
    [
        ("CartPol-v1", (), "unknown Gymnasium environment 'CartPol-v1'; did you mean CartPole-v"),
        ("nowhere/CartPole-v1", (), "unknown Gymnasium environment 'nowhere/CartPole-v1'; did you"),
        ("CartPole-v9", (), "CartPole-v9: Environment version `v9` for environment `CartPole`"),
        ("LunarLander-v2", (), "LunarLander-v2: Environment version v2 for `LunarLander` is depre"),
        ("Hopper-v2", (), "gymnasium-robotics); use Hopper-v5"),
        ("CartPole-v1", ("speed=3",), "CartPole-v1 does not take env_kwargs (speed=3): "),
        ("CartPole-v1", ("speed",), "env_kwargs='speed' is not of the form key=value"),
        ("CartPole-v1", ("=3",), "env_kwargs='=3' is not of the form key=value"),
        ("CartPole-v1", ("speed=[3",), "env_kwargs='speed=[3': its value is no YAML"),
    ],
)  # fmt: skip
def test_what_gymnasium_does_not_take_is_one_clear_message(
    task: str, env_kwargs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(task, [0], *env_kwargs)
    assert message in str(caught.value)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown Gymnasium option 'env_kwarg'; did you mean env"):
        make_envs("CartPole-v1", [0], 0, options={"env_kwarg": ()})


def test_missing_packages_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for module in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(MissingPackageError) as caught:
        make("LunarLander-v3", [0])
    assert str(caught.value) == (
        'LunarLander-v3 needs a package that is not installed: pip install "ppo_mpi[classic]"'
    )
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingPackageError, match="CartPole-v1 needs gymnasium .*ppo_mpi.classic"):
        make("CartPole-v1", [0])


def test_gymnasiums_warnings_are_kept_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        envs = make("CartPole-v0", [0], render=True)
        envs.reset()
        assert envs.render()[0].shape == (400, 600, 3)
        envs.close()
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")


def test_states_of_others_and_damaged_ones_are_refused_before_anything_changes() -> None:
    envs = make("CartPole-v1", [3, 4])
    envs.reset()
    states = envs.get_states()
    shown = envs.step(np.zeros(2, np.int64)).obs
    other = make("Pendulum-v1", [0])
    other.reset()
    saved = json.loads(states[1] or b"")

    def refused(state: bytes, message: str) -> None:
        with pytest.raises(CheckpointError, match=f"the saved state of environment 4 .*{message}"):
            envs.set_states([states[0], state])
        np.testing.assert_array_equal(envs.observe(), shown)

    foreign = other.get_states()[0]
    assert foreign is not None
    refused(foreign, "Pendulum-v1.*this environment .*CartPole-v1")
    refused(b"", "is damaged: JSONDecodeError")
    refused((states[1] or b"")[:200], "is damaged: JSONDecodeError")
    refused(b"[1]", "is damaged: TypeError")
    refused(b"{}", "is damaged: KeyError")
    refused(json.dumps({**saved, "attributes": {}}).encode(), "is damaged: KeyError 'state'")
    refused(json.dumps({**saved, "generator": {"bit_generator": "X"}}).encode(), "is damaged")
    refused(json.dumps({**saved, "elapsed_steps": None}).encode(), "do not both have a time limit")
    odd = {"array": ["a"], "dtype": "O", "shape": [1]}
    refused(
        json.dumps({**saved, "obs": odd}).encode(), "is damaged: ValueError the type .* is not one"
    )
    short = {"array": [1.0], "dtype": "<f4", "shape": [1]}
    refused(json.dumps({**saved, "obs": short}).encode(), r"an observation \(1,\) float32 instead")
    with pytest.raises(CheckpointError, match="1 saved environments do not fit 2 slots"):
        envs.set_states(states[:1])


def test_a_random_streams_position_beyond_its_numbers_is_refused() -> None:
    from ppo_mpi.envs.gym_state import _check_position

    twister, philox = np.random.MT19937(1), np.random.Philox(1)
    _check_position(twister.state)
    _check_position(philox.state)
    _check_position(np.random.PCG64(1).state)
    for state in (
        {**twister.state, "state": {**twister.state["state"], "pos": 625}},
        {**philox.state, "buffer_pos": 5},
        {**philox.state, "buffer_pos": -1},
        {**philox.state, "buffer_pos": 1.5},
    ):
        with pytest.raises(ValueError, match="a position beyond its numbers"):
            _check_position(state)


@pytest.mark.parametrize("size", [1, 4])
def test_an_observation_of_another_size_than_its_space_is_named(size: int) -> None:
    class Wrong(gymnasium.Env[np.ndarray, np.integer[Any]]):
        observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,))
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, **keywords: Any) -> tuple[np.ndarray, dict[str, Any]]:
            return np.zeros(size, np.float32), {}

    envs = GymEnvs("mine:Wrong", [0], 0, "train", False, {}, make=lambda *_: Wrong())
    message = f"mine:Wrong gave an observation of {size} numbers, where its observation_space is "
    with pytest.raises(FailedEnvironmentError, match=message):
        envs.reset()


IMAGES = gymnasium.spaces.Box(0, 255, (12, 10, 3), np.uint8)


@pytest.mark.parametrize("shape", [(12, 12, 3), (3, 12, 10), (12, 10), ()])
@pytest.mark.parametrize("is_part", [False, True])
def test_an_image_of_another_shape_than_its_space_is_named(
    is_part: bool, shape: tuple[int, ...]
) -> None:
    parts = gymnasium.spaces.Dict(camera=IMAGES, speed=gymnasium.spaces.Box(-1.0, 1.0, (2,)))

    class Wrong(gymnasium.Env[Any, np.integer[Any]]):
        observation_space = parts if is_part else IMAGES
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, **keywords: Any) -> tuple[Any, dict[str, Any]]:
            image = np.zeros(shape, np.uint8)
            return {"camera": image, "speed": np.zeros(2)} if is_part else image, {}

    envs = GymEnvs("mine:Wrong", [0], 0, "train", False, {}, make=lambda *_: Wrong())
    where = " in 'camera'" if is_part else ""
    message = f"mine:Wrong gave an observation of shape {shape}{where}, where its observation_space"
    with pytest.raises(FailedEnvironmentError, match=re.escape(message)):
        envs.reset()
