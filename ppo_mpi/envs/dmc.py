"""The DeepMind Control Suite behind Gymnasium's manners: numbers, or the pixels of a camera.

Axes: F features; H, W image.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppo_mpi.envs import mujoco_state
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_control import GymEnvs
from ppo_mpi.envs.gym_making import parse_env_kwargs, quiet
from ppo_mpi.envs.gym_state import decode, encode
from ppo_mpi.envs.mujoco_rendering import (
    cannot_draw,
    choose_renderer,
    close_at_exit,
    draw,
    is_closed,
)
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.registry import unknown_name

HUMAN_SIZE = 480
"""Height and width of ``render()``'s frames."""
LARGEST_SIZE = 480
"""Of pixels; the models reserve no more memory for pictures."""
NOT_FOR_USERS = ("random", "pixels", "size", "camera", "frame_skip")
TWISTER_WORDS = 624
"""Words of the state of numpy's Mersenne twister."""


def make_envs(
    task: str,
    indices: Sequence[int],
    seed: int,
    *,
    stream: str = "train",
    render: bool = False,
    options: Mapping[str, Any],
) -> VecEnvs:
    """Make the environments that have these whole-job indices.

    Args:
        task: ``domain/task``, for example ``hopper/stand``.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for; each purpose has resets of its own.
        render: whether ``render`` will be called.
        options: ``env_kwargs`` (see ``ControlEnv``) as "key=value" strings and ``restart_failed``.

    Raises:
        ConfigError: there is no such task, or an argument is unknown.
        MissingPackageError: dm_control or what draws is not installed.
    """
    env_kwargs = parse_env_kwargs(options)
    restart = bool(options.get("restart_failed"))
    return GymEnvs(task, indices, seed, stream, render, env_kwargs, restart, make_env)


def make_env(task: str, env_kwargs: Mapping[str, Any], render: bool) -> ControlEnv:
    """Return one environment; the arguments are those of ``make_envs``."""
    pixels = env_kwargs.get("pixels", False)
    if pixels or render:
        choose_renderer(f"dmc:{task}")
    try:
        with quiet():
            from absl import logging

            logging.set_verbosity(logging.ERROR)  # of each model's deprecated words
            from dm_control import suite
    except ImportError as error:
        raise MissingPackageError(
            f'dmc:{task} needs dm_control ({error}): pip install "ppo_mpi[dmc]"'
        ) from error
    domain, _, name = task.partition("/")
    known = ["/".join(pair) for pair in suite.ALL_TASKS]
    if task not in known:
        raise ConfigError(unknown_name("task of the DeepMind Control Suite", task, known))
    return ControlEnv(task, suite._DOMAINS[domain].SUITE[name], env_kwargs)


class ControlEnv:
    """One task with the methods of a Gymnasium environment.

    Observations are all parts of the task's own, in its order, as one vector [F] float32; with
    ``pixels=true`` a picture [size, size, 3] uint8 of the camera. Rewards are raw; with
    ``frame_skip=n`` they are the sum over the n steps that an action is held. The task's time
    limit truncates; an end with discount 0 terminates.

    Everything random in an episode comes from the seed of a reset. What is drawn when a task is
    made (the springs of ``lqr``) is the same in every environment and every job.
    """

    def __init__(self, task: str, load: Callable[..., Any], env_kwargs: Mapping[str, Any]) -> None:
        """Make the task.

        Args:
            task: ``domain/task``.
            load: the suite's function for it.
            env_kwargs: ``pixels``, ``size``, ``camera`` (number or name), ``frame_skip``; all
                others go to ``load``, such as ``time_limit``.

        Raises:
            ConfigError: an argument is unknown or out of its range.
        """
        self._task_name = task
        self._pixels = _boolean("pixels", env_kwargs.get("pixels", False))
        self._size = _whole("size", env_kwargs.get("size", 84), LARGEST_SIZE)
        self._frame_skip = _whole("frame_skip", env_kwargs.get("frame_skip", 1), 1000)
        self._camera = env_kwargs.get("camera", 0)
        self._has_drawn: set[str] = set()
        others = {k: v for k, v in env_kwargs.items() if k not in NOT_FOR_USERS}
        self._random = np.random.RandomState(0)
        try:
            self._env = load(random=self._random, **others)
        except TypeError as error:
            known = [*NOT_FOR_USERS[1:], *inspect.signature(load).parameters]
            named = ", ".join(f"{key}={value!r}" for key, value in others.items())
            raise ConfigError(
                f"dmc:{task} does not take env_kwargs ({named}): {error}; known: "
                f"{', '.join(name for name in known if name != 'random')}"
            ) from error
        physics = self._env.physics
        self._pristine = {
            name: array.copy()
            for name, array in mujoco_state.model_arrays(physics.model.ptr).items()
        }
        if self._pixels:
            cameras = range(-1, physics.model.ncam)
            names = [physics.model.id2name(i, "camera") for i in cameras if i >= 0]
            if self._camera not in (*cameras, *names):
                raise ConfigError(
                    f"camera={self._camera!r} is none of dmc:{task}; use -1 to {cameras[-1]} or "
                    f"one of {', '.join(names)}"
                )
        self.observation_space = self._observation_space()
        self.action_space = _box(self._env.action_spec())

    @property
    def unwrapped(self) -> ControlEnv:
        """The environment itself."""
        return self

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; with a seed, everything random from now on follows from it."""
        if seed is not None:
            self._random.seed(seed)
        # Tasks with terrain hand it to what draws, whether anybody looks or not.
        return self._shown(self._draw("reset", self._env.reset)), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action for ``frame_skip`` steps, or until the episode ends."""
        total = 0.0
        for _ in range(self._frame_skip):
            result = self._env.step(action)
            total += result.reward
            if result.last():
                break
        ended = bool(result.last() and result.discount == 0)
        return self._shown(result), total, ended, bool(result.last() and not ended), {}

    def render(self) -> np.ndarray:
        """Return a frame [480, 480, 3] uint8 of the first camera."""
        return self._picture(HUMAN_SIZE, 0 if self._env.physics.model.ncam else -1)

    def close(self) -> None:
        """Free the simulation and what draws it."""
        is_closed(self)
        draw(self._env.physics.free)  # dm_control's own close() frees nothing

    def _draw(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        result = draw(function, *arguments)
        if what not in self._has_drawn:
            # Each may have made a context, which dm_control's own handler frees in any thread.
            close_at_exit(self, self.close)
            self._has_drawn.add(what)
        return result

    def save_episode(self) -> Any:
        """Return the whole state as JSON can hold it; see ``gym_state``."""
        model, data = self._raw()
        random: Any = self._random.get_state()
        _, key, position, has_gauss, gauss = random  # MT19937: RandomState has no other
        return {
            "physics": mujoco_state.physics_state(model, data),
            "model": mujoco_state.changed_arrays(model, self._pristine),
            "task": {k: encode(v) for k, v in self._task_numbers().items()},
            "steps": self._env._step_count,
            "random": [key.tolist(), position, has_gauss, gauss],
        }

    def check_episode(self, state: Any) -> None:
        """Raise ValueError unless ``load_episode`` would take the state."""
        self._parsed(state)

    def load_episode(self, state: Any) -> None:
        """Go on with a saved episode."""
        physics, model, task, random = self._parsed(state)
        mujoco_state.apply_model(model, self._raw()[0])
        mujoco_state.apply_physics(physics, *self._raw())
        vars(self._env.task).update(task)
        self._env._step_count, self._env._reset_next_step = state["steps"], False
        self._random.set_state(("MT19937", *random))

    def _parsed(self, state: Any) -> tuple[Any, Any, dict[str, Any], tuple[Any, ...]]:
        physics = mujoco_state.parse_physics(state["physics"], *self._raw())
        model = mujoco_state.parse_model(state["model"], self._pristine)
        own = self._task_numbers()
        task = {name: decode(value) for name, value in state["task"].items()}
        if task.keys() != own.keys():
            raise ValueError(f"its task has the numbers {sorted(task)[:20]}")
        for name, value in task.items():
            if type(value) is not type(own[name]) or np.shape(value) != np.shape(own[name]):
                raise ValueError(f"its task has {name}={str(value)[:80]}")
        steps = state["steps"]
        if type(steps) is not int or steps < 0:
            raise ValueError(f"its episode has {str(steps)[:80]} steps")
        return physics, model, task, _parsed_random(state["random"])

    def _task_numbers(self) -> dict[str, Any]:
        numbers = (bool, int, float, np.number, np.ndarray)
        return {
            name: value
            for name, value in vars(self._env.task).items()
            if isinstance(value, numbers) and np.asarray(value).dtype.kind in "biuf"
        }

    def _raw(self) -> tuple[Any, Any]:
        return self._env.physics.model.ptr, self._env.physics.data.ptr

    def _observation_space(self) -> Any:
        from gymnasium import spaces

        if self._pixels:
            return spaces.Box(0, 255, (self._size, self._size, 3), np.uint8)
        parts = self._env.observation_spec().values()
        size = sum(math.prod(part.shape) for part in parts)
        return spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def _shown(self, result: Any) -> np.ndarray:
        if self._pixels:
            return self._picture(self._size, self._camera)
        parts = [np.ravel(part) for part in result.observation.values()]
        return np.concatenate(parts).astype(np.float32)

    def _picture(self, size: int, camera: int | str) -> np.ndarray:
        try:
            frame: np.ndarray = self._draw("render", self._env.physics.render, size, size, camera)
        except (ImportError, RuntimeError, AttributeError) as error:
            raise cannot_draw(f"dmc:{self._task_name}", error) from error
        return frame


def _box(spec: Any) -> Any:
    from gymnasium import spaces

    low = np.broadcast_to(spec.minimum, spec.shape)
    high = np.broadcast_to(spec.maximum, spec.shape)
    return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


def _whole(name: str, value: Any, largest: int) -> int:
    if type(value) is not int or not 1 <= value <= largest:
        raise ConfigError(f"env_kwargs: {name}={value!r} is not a whole number from 1 to {largest}")
    return value


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"env_kwargs: {name}={value!r} is neither true nor false")
    return value


def _parsed_random(state: Any) -> tuple[Any, ...]:
    """Return the state of a Mersenne twister; its position is an index into its words."""
    key, position, has_gauss, gauss = state
    words_fit = len(key) == TWISTER_WORDS and all(
        type(word) is int and 0 <= word < 2**32 for word in key
    )
    is_known = type(position) is int and 0 <= position <= TWISTER_WORDS and has_gauss in (0, 1)
    if not words_fit or not is_known or type(gauss) not in (int, float) or not math.isfinite(gauss):
        raise ValueError("its random stream is none of numpy's RandomState")
    return np.array(key, np.uint32), position, int(has_gauss), float(gauss)
