"""Makes one Gymnasium environment, with every refusal as one clear message."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from ppo_mpi.envs.mujoco_rendering import choose_renderer, prepare_to_draw
from ppo_mpi.envs.silence import hush_mujoco
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.registry import unknown_name
from ppo_mpi.settings.atari_names import looks_like_atari

# Part of an environment's module -> the extra of this package that installs what it needs.
EXTRAS = {
    "box2d": "classic",
    "classic_control": "classic",
    "toy_text": "classic",
    "mujoco": "mujoco",
}

Make = Callable[[str, Mapping[str, Any], bool], Any]
"""(name, arguments, whether it draws frames) -> one environment as ``GymEnvs`` uses it."""


def parse_env_kwargs(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the environment from ``options["env_kwargs"]``.

    Args:
        options: of a suite; ``env_kwargs`` is a sequence of "key=value", each value as in YAML,
            except that 5e-4 is a number here.

    Raises:
        ConfigError: an item is not of that form, or an option is unknown.
    """
    for name in options:
        if name not in ("env_kwargs", "restart_failed"):
            raise ConfigError(unknown_name("Gymnasium option", name, ["env_kwargs"]))
    kwargs = {}
    for item in options.get("env_kwargs", ()):
        key, equals, text = item.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"env_kwargs={item!r} is not of the form key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"env_kwargs={item!r}: its value is no YAML ({error})") from error
        kwargs[key] = _number(value) if isinstance(value, str) else value
    return kwargs


def make_env(env_id: str, env_kwargs: Mapping[str, Any], render: bool) -> Any:
    """Return one ``gymnasium.Env``.

    Args:
        env_id: the id.
        env_kwargs: arguments of the environment.
        render: whether it draws frames (``render_mode="rgb_array"``).

    Raises:
        ConfigError: the id is unknown or out of use, or an argument does not fit.
        MissingPackageError: Gymnasium itself, the emulator of an Atari game, or what else the
            environment needs is not installed.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise MissingPackageError(
            f'{env_id} needs gymnasium ({error}): pip install "ppo_mpi[classic]"'
        ) from error
    arguments = {**env_kwargs, "render_mode": "rgb_array"} if render else dict(env_kwargs)
    if env_id not in gymnasium.registry and looks_like_atari(env_id):
        from ppo_mpi.envs.atari_options import import_ale

        import_ale()  # which registers them
    error_types = gymnasium.error
    spec = gymnasium.registry.get(env_id)
    is_mujoco = "mujoco" in str(spec and spec.entry_point)
    if is_mujoco:
        if render:
            choose_renderer(env_id)
        hush_mujoco()
    with quiet():
        try:
            env = gymnasium.make(env_id, disable_env_checker=True, **arguments)
            if render:  # one of the user's, too
                prepare_to_draw(env, env_id)
            return env
        except (error_types.NameNotFound, error_types.NamespaceNotFound) as error:
            message = unknown_name("Gymnasium environment", env_id, gymnasium.registry)
            raise ConfigError(message) from error
        except error_types.DependencyNotInstalled as error:
            raise MissingPackageError(_missing(env_id, gymnasium.registry, error)) from error
        except error_types.Error as error:
            raise ConfigError(f"{env_id}: {error}") from error
        except ImportError as error:
            # Gymnasium says so of ids whose environments have moved to another package.
            newest = _newest_version(env_id, gymnasium.registry)
            raise ConfigError(f"{env_id}: {str(error).rstrip('.')}{newest}") from error
        except (TypeError, ValueError) as error:
            named = ", ".join(f"{key}={value!r}" for key, value in env_kwargs.items())
            message = f"{env_id} does not take env_kwargs ({named}): {error}"
            raise ConfigError(message) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Gymnasium's warnings and pygame's greeting off the console of every rank."""
    # Frames are drawn in memory: pygame need not look for a display or a sound card, whose
    # absence it reports on the console.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _number(text: str) -> float | str:
    # YAML 1.1 reads 5e-4 as a string, as it has no point. Words like "infinity" stay words.
    if not any(letter.isdigit() for letter in text):
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _missing(env_id: str, registry: Mapping[str, Any], error: Exception) -> str:
    spec = registry.get(env_id)
    module = str(spec.entry_point) if spec is not None else ""
    extras = [extra for part, extra in EXTRAS.items() if part in module]
    if not extras:
        return f"{env_id} needs a package that is not installed: {error}"
    return f'{env_id} needs a package that is not installed: pip install "ppo_mpi[{extras[0]}]"'


def _newest_version(env_id: str, registry: Mapping[str, Any]) -> str:
    name = env_id.rpartition("-v")[0]
    versions = [known.rpartition("-v") for known in registry if known.startswith(f"{name}-v")]
    numbers = [int(number) for _, _, number in versions if number.isdigit()]
    return f"; use {name}-v{max(numbers)}" if name and numbers else ""
