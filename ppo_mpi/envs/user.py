"""A user's own environment: ``package.module:callable`` makes it.

It may be one of Gymnasium, or be built like those of the package gym, old or new.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_control import GymEnvs
from ppo_mpi.envs.gym_making import parse_env_kwargs
from ppo_mpi.envs.mujoco_rendering import prepare_to_draw
from ppo_mpi.envs.old_gym import OldEnv, Randomness
from ppo_mpi.errors import ConfigError, MissingPackageError

NEEDED = ("reset", "step", "observation_space", "action_space")
"""What an environment has."""


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
        task: ``package.module:callable``; modules of the current folder are found.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for; each purpose has resets of its own.
        render: whether ``render`` will be called.
        options: ``env_kwargs``, arguments of the callable as "key=value" strings, and
            ``restart_failed``.

    Raises:
        ConfigError: the module or the callable is not there, or what it makes is no environment.
        MissingPackageError: the module needs a package that is not installed.
    """
    env_kwargs = parse_env_kwargs(options)
    restart = bool(options.get("restart_failed"))
    return GymEnvs(task, indices, seed, stream, render, env_kwargs, restart, make_env)


def make_env(task: str, env_kwargs: Mapping[str, Any], render: bool) -> Any:
    """Return one environment; the arguments are those of ``make_envs``."""
    from gymnasium import Env

    make = find(task)
    arguments = dict(env_kwargs)
    if render and _takes(make, "render_mode"):
        arguments["render_mode"] = "rgb_array"
    _check_arguments(task, make, arguments)
    randomness = Randomness(0)
    with randomness:
        env = make(**arguments)
    missing = [name for name in NEEDED if not hasattr(env, name)]
    if missing:
        raise ConfigError(
            f"{task} returned {type(env).__name__}, which has no {', '.join(missing)}; it must "
            "return an environment of Gymnasium, or one that is built like those of gym"
        )
    if not isinstance(env, Env):
        mode = "rgb_array" if render else None
        return OldEnv(env, task, render_mode=mode, randomness=randomness)
    if render and env.render_mode != "rgb_array":
        raise ConfigError(
            f"{task} made an environment with render_mode={env.render_mode}, of which there are no "
            "pictures; let it take render_mode and hand it to the environment"
        )
    if render:
        prepare_to_draw(env, task)
    return env


def find(task: str) -> Callable[..., Any]:
    """Import and return the callable that ``package.module:callable`` names.

    Raises:
        ConfigError: it is not of that form, cannot be imported, or is not there.
        MissingPackageError: the module needs another one that is not installed.
    """
    module_name, _, name = task.partition(":")
    parts = module_name.split(".")
    if not name.isidentifier() or not all(part.isidentifier() for part in parts):
        raise ConfigError(
            f"env={task} is neither suite:name nor package.module:callable; for example "
            "my_package.envs:make_env"
        )
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as python -m does, and a script of pip's does not
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise MissingPackageError(
                f"{module_name} needs a package that is not installed: {error}; install it"
            ) from error
        raise ConfigError(
            f"env={task}: {error}; run it in the folder that holds it, or install it. If a suite "
            "was meant: atari, dmc, gym, oldgym, probe, procgen or pybullet"
        ) from error
    except Exception as error:  # foreign code: it may raise anything
        raise ConfigError(
            f"env={task}: {module_name} raised when it was imported: {error!r}"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        has = sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise ConfigError(
            f"env={task}: {module.__file__} has no callable {name}; it has {', '.join(has[:20])}"
        )
    made: Callable[..., Any] = found
    return made


def _check_arguments(task: str, make: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the callable does not take, before it runs."""
    try:
        signature = inspect.signature(make)
    except ValueError:
        return  # one written in C does not say
    try:
        signature.bind(**arguments)
    except TypeError as error:
        named = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ConfigError(
            f"{task}{signature} does not take env_kwargs ({named}): {error}"
        ) from error


def _takes(make: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:
        return False
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)
