"""The package gym from before Gymnasium: its environments behind Gymnasium's manners.

Versions 0.21 and before (``reset() -> obs``, four values of a step, ``seed()``) and 0.26 (as
Gymnasium) are told apart by what an environment does.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_control import GymEnvs
from ppo_mpi.envs.gym_making import parse_env_kwargs, quiet
from ppo_mpi.envs.gym_state import Shell
from ppo_mpi.envs.mujoco_rendering import choose_renderer
from ppo_mpi.envs.old_gym_state import inside_of, keeper_of
from ppo_mpi.envs.silence import PROCESS, hush_mujoco
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.registry import unknown_name

MUJOCO = "gym.envs.mujoco"
"""How the modules begin whose environments MuJoCo draws."""


def make_envs(
    task: str,
    indices: Sequence[int],
    seed: int,
    *,
    stream: str = "train",
    render: bool = False,
    options: Mapping[str, Any],
) -> VecEnvs:
    """Make the environments of the package gym that have these whole-job indices.

    Args:
        task: an id of gym's registry, for example ``CartPole-v1``, or ``module:Id-v0``.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for; each purpose has resets of its own.
        render: whether ``render`` will be called.
        options: ``env_kwargs`` as "key=value" strings, and ``restart_failed``.

    Raises:
        ConfigError: the id or an argument is unknown, or a space cannot be used.
        MissingPackageError: gym or what the environment needs is not installed.
    """
    env_kwargs = parse_env_kwargs(options)
    restart = bool(options.get("restart_failed"))
    return GymEnvs(task, indices, seed, stream, render, env_kwargs, restart, make_env)


def make_env(task: str, env_kwargs: Mapping[str, Any], render: bool) -> OldEnv:
    """Return one environment; the arguments are those of ``make_envs``."""
    gym = import_gym(f"oldgym:{task}")
    arguments = {**env_kwargs, "render_mode": "rgb_array"} if render else dict(env_kwargs)
    spec = gym.envs.registration.registry.get(task)
    is_mujoco = MUJOCO in str(spec and spec.entry_point)
    if is_mujoco:
        hush_mujoco()
        if render:
            choose_renderer(f"oldgym:{task}")
    # gym 0.26 knows neither what came before MuJoCo's own package nor what its newer ones refuse.
    remedy = f"; use {task} of Gymnasium, without oldgym: in front" if is_mujoco else ""
    with quiet():
        try:
            env = gym.make(task, disable_env_checker=True, **arguments)
        except (gym.error.NameNotFound, gym.error.NamespaceNotFound) as error:
            known = gym.envs.registration.registry
            raise ConfigError(unknown_name("environment of gym", task, known)) from error
        except (gym.error.DependencyNotInstalled, ImportError) as error:
            raise MissingPackageError(
                f"oldgym:{task} needs a package that is not installed: {error}{remedy}"
            ) from error
        except gym.error.Error as error:
            raise ConfigError(f"oldgym:{task}: {error}") from error
        except (TypeError, ValueError) as error:
            if not env_kwargs:
                first = str(error).partition("\n")[0]
                raise ConfigError(f"oldgym:{task} cannot be made: {first}{remedy}") from error
            named = ", ".join(f"{key}={value!r}" for key, value in env_kwargs.items())
            raise ConfigError(
                f"oldgym:{task} does not take env_kwargs ({named}): {error}"
            ) from error
    return OldEnv(env, f"oldgym:{task}", render_mode="rgb_array" if render else None)


def import_gym(env_id: str) -> Any:
    """Import and return the package gym, without its banner.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import gym_notices.notices

        gym_notices.notices.notices.clear()
        import gym
    except ImportError as error:
        raise MissingPackageError(
            f'{env_id} needs the package gym ({error}): pip install "gym>=0.26,<0.27"'
        ) from error
    return gym


class Randomness:
    """Python's and numpy's global random numbers, of which each environment has its own.

    While one draws, the others of the process wait.
    """

    def __init__(self, seed: int) -> None:
        """Begin with streams that belong to this seed."""
        self.reseed(seed)

    @property
    def python_state(self) -> tuple[Any, ...]:
        """Of Python's random numbers."""
        return self._python

    @property
    def numpy_state(self) -> dict[str, Any]:
        """Of numpy's random numbers, those of a ``MT19937``."""
        return dict(self._numpy.state)

    def go_on_from(self, python: tuple[Any, ...], numpy: dict[str, Any]) -> None:
        """Take states that were ``python_state`` and ``numpy_state``, both checked."""
        self._python = python
        self._numpy.state = numpy  # type: ignore[assignment]  # numpy names its parts

    def reseed(self, seed: int) -> None:
        """Begin anew."""
        self._python = random.Random(seed).getstate()
        self._numpy = np.random.MT19937(seed)

    def __enter__(self) -> None:
        """Let what runs now draw from these numbers."""
        PROCESS.acquire()
        # numpy's generator is exchanged: to copy its state takes a hundred times as long.
        self._others = random.getstate(), np.random.get_bit_generator()
        random.setstate(self._python)
        np.random.set_bit_generator(self._numpy)

    def __exit__(self, *_: object) -> None:
        """Keep how far they are, and give the process back its own."""
        self._python = random.getstate()
        python, of_numpy = self._others
        random.setstate(python)
        np.random.set_bit_generator(of_numpy)
        PROCESS.release()


class OldEnv(Shell):
    """An environment of the package gym, or one that is built like those.

    Besides its own generator it may draw from Python's and numpy's global random numbers: each
    environment has some of its own, seeded with it.

    With ``done`` an episode has ended for good, unless its info says ``TimeLimit.truncated`` or
    ``out_of_time`` is true: then it was cut short.
    """

    def __init__(
        self,
        env: Any,
        env_id: str,
        *,
        max_steps: int | None = None,
        render_mode: str | None = None,
        randomness: Randomness | None = None,
        draws_in_steps: bool = True,
        out_of_time: Callable[[Any], bool] = lambda env: False,
    ) -> None:
        """Wrap an environment.

        Args:
            env: has reset, step and the two spaces.
            env_id: what it is called, for messages.
            max_steps: its time limit, if nothing else keeps it.
            render_mode: ``rgb_array`` if it is to draw.
            randomness: what it drew from while it was made; None begins with fixed numbers.
            draws_in_steps: whether global random numbers are drawn in steps, not in resets only.
            out_of_time: says of an environment that is done whether only its own clock ran out.

        Raises:
            ConfigError: a space is of an unknown kind.
        """
        self._env, self._max_steps, self.render_mode = env, max_steps, render_mode
        self.inside = inside_of(env)
        mujoco = (kind.__module__.startswith(MUJOCO) for kind in type(self.inside).__mro__)
        self.draws_by_mujoco = any(mujoco)
        self.observation_space = convert_space(env_id, env.observation_space)
        self.action_space = convert_space(env_id, env.action_space)
        self._as_bytes = _is_picture(env.observation_space)
        self._seed_at_reset = _takes(env.reset, "seed")
        self._draws_by_mode = _takes(env.render, "mode") and not getattr(env, "render_mode", None)
        self._randomness = randomness or Randomness(0)
        self._draws_in_steps, self._out_of_time = draws_in_steps, out_of_time
        self._steps = 0

    @property
    def unwrapped(self) -> OldEnv:
        """The environment itself: what is inside has not Gymnasium's manners."""
        return self

    def keeper(self) -> Any:
        """Return what saves and restores its episode; None if it cannot be saved."""
        if self._max_steps is not None:
            return None  # of environments that come with gym, none of which saves anything
        return keeper_of(self._env, self._randomness)

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._steps = 0
        keywords = {}
        if seed is not None:
            self._randomness.reseed(seed)
            if self._seed_at_reset:
                keywords = {"seed": seed}
        with self._randomness:
            if seed is not None and not keywords and hasattr(self._env, "seed"):
                self._env.seed(seed)
            begun = self._env.reset(**keywords)
        if isinstance(begun, tuple) and len(begun) == 2 and isinstance(begun[1], dict):
            begun = begun[0]
        return self._shown(begun), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step."""
        with self._randomness if self._draws_in_steps else contextlib.nullcontext():
            taken = self._env.step(action)
        self._steps += 1
        if len(taken) == 5:
            obs, reward, terminated, truncated, info = taken
        else:
            obs, reward, done, info = taken
            is_cut = info.get("TimeLimit.truncated", False) or (
                done and self._out_of_time(self._env)
            )
            truncated, terminated = bool(done and is_cut), bool(done and not is_cut)
        if self._max_steps is not None and self._steps >= self._max_steps:
            truncated = not terminated  # an end at the limit is an end
        return self._shown(obs), float(reward), bool(terminated), bool(truncated), info

    def _shown(self, obs: Any) -> Any:
        return np.asarray(obs, np.uint8) if self._as_bytes else obs

    def render(self) -> np.ndarray:
        """Return a frame [H, W, 3] uint8."""
        with self._randomness:
            frame = (
                self._env.render(mode="rgb_array") if self._draws_by_mode else self._env.render()
            )
        return np.asarray(frame, np.uint8)

    def close(self) -> None:
        """Free the environment."""
        if hasattr(self._env, "close"):
            self._env.close()


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def _is_picture(space: Any) -> bool:
    """Return whether a space is one of pictures, which many have declared as real numbers."""
    if type(space).__name__ != "Box" or len(space.shape) != 3:
        return False
    return bool(np.all(space.low == 0) and np.all(space.high == 255))


def convert_space(env_id: str, space: Any) -> Any:
    """Return a space of the package gym as one of Gymnasium's; those of Gymnasium as they are.

    Pictures whose numbers go from 0 to 255 are whole numbers, whatever was declared.

    Raises:
        ConfigError: it is of a kind that is unknown here.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Space):
        return space
    kind = type(space).__name__
    if _is_picture(space):
        return spaces.Box(0, 255, space.shape, np.uint8)
    if kind == "Box":
        return spaces.Box(space.low, space.high, space.shape, space.dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(int(space.n), start=int(getattr(space, "start", 0)))
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(np.asarray(space.nvec))
    if kind == "MultiBinary":
        return spaces.MultiBinary(space.n)
    if kind == "Tuple":
        return spaces.Tuple([convert_space(env_id, part) for part in space.spaces])
    if kind == "Dict":
        parts = {name: convert_space(env_id, part) for name, part in space.spaces.items()}
        return spaces.Dict(parts)
    raise ConfigError(
        f"{env_id} has the space {space!r}; known are Box, Discrete, MultiDiscrete, MultiBinary, "
        "Tuple and Dict"
    )
