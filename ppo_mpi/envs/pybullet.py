"""PyBullet's own environments, which know only a gym of long ago, behind Gymnasium's manners."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.gym_control import GymEnvs
from ppo_mpi.envs.gym_making import parse_env_kwargs, quiet
from ppo_mpi.envs.old_gym import OldEnv, Randomness, import_gym
from ppo_mpi.envs.silence import silent_output
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.registry import unknown_name

SHARED = "pybullet_envs.bullet."
"""Modules whose environments all speak to one simulation, the module ``p``."""
SHARING = ("kuka", "kukaGymEnv", "kukaCamGymEnv", "kuka_diverse_object_gym_env")
DRAW_IN_RESETS = ("pybullet_envs.gym_", "pybullet_envs.bullet.cartpole")
"""How the modules begin that draw no global random numbers in a step."""
CAMERA = {"_cam_dist": 12.0, "_cam_yaw": 50.0, "_cam_pitch": -35.0}
"""Where the racecars, which have forgotten it, are looked at from."""

# Class -> whether an environment that is done has only run out of its own time.
OUT_OF_TIME: Mapping[str, Callable[[Any], bool]] = {
    "RacecarGymEnv": lambda env: True,
    "RacecarZEDGymEnv": lambda env: True,
    "KukaGymEnv": lambda env: not env.terminated,
    "KukaCamGymEnv": lambda env: not env.terminated,
    "KukaDiverseObjectEnv": lambda env: not env._attempted_grasp,
}


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
        task: an id of ``pybullet_envs``, for example ``HopperBulletEnv-v0``.
        indices: whole-job numbers of the environments, may be empty.
        seed: the job's seed.
        stream: what the environments are for; each purpose has resets of its own.
        render: whether ``render`` will be called.
        options: ``env_kwargs`` as "key=value" strings, and ``restart_failed``.

    Raises:
        ConfigError: the id or an argument is unknown.
        MissingPackageError: PyBullet is not installed, or there is none for this Python.
    """
    env_kwargs = parse_env_kwargs(options)
    restart = bool(options.get("restart_failed"))
    return GymEnvs(task, indices, seed, stream, render, env_kwargs, restart, make_env)


def make_env(task: str, env_kwargs: Mapping[str, Any], render: bool) -> OldEnv:
    """Return one environment; the arguments are those of ``make_envs``."""
    spec, kind = _find(task)
    modules = _sharing_modules() if kind.__module__.startswith(SHARED) else []
    surroundings = Surroundings(modules)
    # Some open a window unless told otherwise.
    windows = {name: False for name in ("render", "renders") if _has(kind, name)}
    arguments = {**spec.kwargs, **windows, **env_kwargs}
    with surroundings, quiet(), silent_output():
        try:
            env = kind(**arguments)
        except TypeError as error:
            named = ", ".join(f"{key}={value!r}" for key, value in env_kwargs.items())
            raise ConfigError(
                f"pybullet:{task} does not take env_kwargs ({named}): {error}"
            ) from error
    for name, value in CAMERA.items():
        if not hasattr(env, name):
            setattr(env, name, value)
    return BulletEnv(
        env,
        f"pybullet:{task}",
        max_steps=spec.max_episode_steps,
        render_mode="rgb_array" if render else None,
        randomness=surroundings,
        draws_in_steps=not kind.__module__.startswith(DRAW_IN_RESETS),
        out_of_time=OUT_OF_TIME.get(kind.__name__, lambda env: False),
    )


class BulletEnv(OldEnv):
    """An environment of PyBullet's, whose simulation says nothing on the console."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        with silent_output():
            return super().reset(seed=seed)

    def close(self) -> None:
        """Free the environment and the simulation that it had to itself."""
        with silent_output():
            super().close()
            assert isinstance(self._randomness, Surroundings), "it was made here"
            self._randomness.close()


class Surroundings(Randomness):
    """What an environment finds as global: random numbers, and the simulation ``p`` of some.

    Those that would share one simulation get one each.
    """

    def __init__(self, modules: Sequence[Any]) -> None:
        """Begin.

        Args:
            modules: those that look for a simulation in their global ``p``; may be empty.
        """
        super().__init__(0)
        self._modules = modules
        self._simulation = Simulation(connected=True) if modules else None

    def __enter__(self) -> None:
        """Put what belongs to this environment in place."""
        super().__enter__()
        for module in self._modules:
            module.p = self._simulation

    def __exit__(self, *error: object) -> None:
        """Take it away again."""
        for module in self._modules:
            module.p = Simulation(connected=False)
        super().__exit__(*error)

    def close(self) -> None:
        """Free the simulation."""
        if self._simulation is not None:
            self._simulation.close()


class Simulation:
    """Looks like the module ``pybullet``, but speaks to one simulation only."""

    def __init__(self, connected: bool) -> None:
        """Open a simulation, or stand for none while no environment of these runs."""
        self._client = -1
        if connected:
            import pybullet

            with silent_output():
                self._client = pybullet.connect(pybullet.DIRECT)

    def __getattr__(self, name: str) -> Any:
        """Return a function or a number of the module."""
        import pybullet

        found = getattr(pybullet, name)
        if not inspect.isbuiltin(found):
            return found
        return functools.partial(found, physicsClientId=self._client)

    def loadURDF(self, file: str, *place: Any, **named: Any) -> Any:  # noqa: N802 (as there)
        """Load a body; its place may be one number after the other, as of old."""
        import pybullet

        if len(place) == 7:  # that form takes no simulation
            place = (place[:3], place[3:])
        return pybullet.loadURDF(file, *place, physicsClientId=self._client, **named)

    def connect(self, *_: Any, **__: Any) -> int:
        """Return the simulation, which is open."""
        return self._client

    def disconnect(self, *_: Any, **__: Any) -> None:
        """Stay open: an environment that is thrown away would close another's."""

    def close(self) -> None:
        """Free the simulation."""
        import pybullet

        if self._client >= 0:
            pybullet.disconnect(physicsClientId=self._client)
        self._client = -1


def _find(task: str) -> tuple[Any, type]:
    """Return what ``pybullet_envs`` has registered for an id, and its class.

    Raises:
        ConfigError: the id is unknown.
        MissingPackageError: PyBullet, or what one environment needs, is not installed.
    """
    if sys.version_info >= (3, 12):
        raise MissingPackageError(
            f"pybullet:{task} needs PyBullet, which is there for Python 3.10 and 3.11 only; use "
            "one of them, or MuJoCo's or the DeepMind Control Suite's environments"
        )
    import_gym(f"pybullet:{task}")
    try:
        with _gym_of_long_ago(), silent_output(), quiet():
            specs = _specs()
    except ImportError as error:
        raise MissingPackageError(
            f'pybullet:{task} needs PyBullet ({error}): pip install "ppo_mpi[pybullet]"'
        ) from error
    if task not in specs:
        raise ConfigError(unknown_name("environment of PyBullet", task, specs))
    module, _, name = specs[task].entry_point.partition(":")
    try:
        with _gym_of_long_ago(), silent_output(), quiet():
            return specs[task], getattr(importlib.import_module(module), name)
    except (ImportError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise MissingPackageError(
            f"pybullet:{task} cannot be imported ({first}); for the environments of "
            "pybullet_envs.minitaur set PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python"
        ) from error


def _specs() -> Mapping[str, Any]:
    import pybullet_envs

    found: Mapping[str, Any] = pybullet_envs.registry
    return {name: spec for name, spec in found.items() if "pybullet_envs" in str(spec.entry_point)}


@contextlib.contextmanager
def _gym_of_long_ago() -> Iterator[None]:
    """Give what ``pybullet_envs`` looks for while it is imported; take it back afterwards."""
    from gym.envs import registration

    class Registry(dict[str, Any]):
        """gym's table of ids, with its name in old versions."""

        @property
        def env_specs(self) -> Registry:
            return self

    table, registration.registry = registration.registry, Registry(registration.registry)
    had_resources = "pkg_resources" in sys.modules
    if not had_resources:
        from packaging.version import parse

        resources = types.ModuleType("pkg_resources")
        resources.parse_version = parse  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = resources
    try:
        yield
    finally:
        registration.registry = table
        if not had_resources:
            del sys.modules["pkg_resources"]


def _sharing_modules() -> list[Any]:
    """Return the modules that look for a simulation in their global ``p``."""
    loaded = [sys.modules.get(f"{SHARED}{name}") for name in SHARING]
    return [module for module in loaded if module is not None]


def _has(kind: type, parameter: str) -> bool:
    return parameter in inspect.signature(kind).parameters
