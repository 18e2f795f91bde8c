"""Saves and restores environments whose whole state is known.

These are Gymnasium's classic control and MuJoCo, and all that have the methods
``save_episode()``, which returns what JSON can hold or None, and ``load_episode(state)``, which
raises ValueError for a state that it cannot take; ``check_episode(state)``, which they may have,
raises so without changing anything.

A state is JSON. Numbers keep their type and, as JSON writes the shortest text that reads back
equal, their bits; so a restored environment goes on exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppo_mpi.envs import mujoco_state
from ppo_mpi.envs.truths import truths_for_json, truths_from_json
from ppo_mpi.errors import CheckpointError

FORMAT = 1
LARGEST = 1e6
"""Bound of the numbers in a state; some environments take an angle to its range turn by turn."""
LARGEST_COUNT = 2**62
DTYPES = ("|b1", "|i1", "|u1", *(f"<{kind}{size}" for kind in "iu" for size in (2, 4, 8)),
          "<f2", "<f4", "<f8")  # fmt: skip
"""Those of an array or a scalar in a state, by numpy's names."""

# "module:class" of an environment -> the attributes that change while it runs, and how many
# numbers each has; 0 is one number or None. The generator, the time limit's count and the present
# observation are saved for all.
SAVABLE: Mapping[str, Mapping[str, int]] = {
    f"gymnasium.envs.classic_control.{name}": attributes
    for name, attributes in {
        "acrobot:AcrobotEnv": {"state": 4},
        "cartpole:CartPoleEnv": {"state": 4, "steps_beyond_terminated": 0},
        "continuous_mountain_car:Continuous_MountainCarEnv": {"state": 2},
        "mountain_car:MountainCarEnv": {"state": 2},
        "pendulum:PendulumEnv": {"state": 2, "last_u": 0},
    }.items()
}


class Shell:
    """An environment around another one that has not Gymnasium's manners."""

    inside: Any
    """The other one, without its wrappers."""
    draws_by_mujoco: bool = False
    """Whether it has to be drawn, and closed, in the thread that draws."""

    def keeper(self) -> Any:
        """Return what has ``save_episode`` and ``load_episode`` for it; None if nothing."""


@dataclass(frozen=True)
class SavedEnv:
    """A state that was read and checked."""

    attributes: Mapping[str, Any]
    generator: Mapping[str, Any] | None
    """State of numpy's bit generator; None where the environment has none."""
    elapsed_steps: int | None
    """Steps of the episode by the time limit; None without a limit."""
    obs: np.ndarray
    next_seed: int | None
    """The seed of the next reset, if one was assigned."""
    failures: int = 0
    """How often the environment has raised and was made anew."""
    episode: Any = None
    """What the environment's own ``save_episode`` gave."""
    truths: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """[W] float32, what is true of the observation; NaN where it is not known."""


def get_state(
    env: Any,
    env_id: str,
    obs: np.ndarray,
    next_seed: int | None,
    failures: int = 0,
    truths: np.ndarray | None = None,
) -> bytes | None:
    """Return the state of one environment as JSON, or None if it cannot be saved.

    Args:
        env: the environment with its wrappers.
        env_id: its id.
        obs: its present observation, as shown to the policy.
        next_seed: the seed of its next reset, if one was assigned.
        failures: how often it has raised and was made anew.
        truths: [W] float32, what is true of the observation; None if nobody asked.
    """
    kind, own = class_name(env), own_episode(env)
    if (own is None and kind not in SAVABLE) or not wrappers_are_known(env):
        return None
    episode = None if own is None else own.save_episode()
    if own is not None and episode is None:
        return None
    limit, generator = time_limit(env), _generator(env)
    state = {
        "format": FORMAT,
        "env": env_id,
        "class": kind,
        "attributes": {
            name: encode(getattr(env.unwrapped, name)) for name in SAVABLE.get(kind, ())
        },
        "episode": episode,
        "generator": None if generator is None else generator.bit_generator.state,
        "elapsed_steps": None if limit is None else limit._elapsed_steps,
        "obs": encode(obs),
        "next_seed": next_seed,
        "failures": failures,
    }
    if truths is not None and len(truths):
        state["truths"] = truths_for_json(truths)
    return json.dumps(state).encode("ascii")


def parse_state(
    state: bytes, env: Any, env_id: str, obs: np.ndarray, index: int, width: int = 0
) -> SavedEnv:
    """Read a state and check that it belongs to such an environment.

    Args:
        state: what ``get_state`` gave.
        env: the environment it shall go to; not changed.
        env_id: its id.
        obs: an observation of it, whose shape and dtype are expected.
        index: its whole-job index, for messages.
        width: W, numbers of its truths.

    Raises:
        CheckpointError: the state is damaged, or belongs to another environment.
    """
    whose = f"the saved state of environment {index}"
    try:
        saved = json.loads(state)
        found = (saved["format"], saved["env"], saved["class"])
        expected = (FORMAT, env_id, class_name(env))
        if found != expected:
            shown = str(found)[:200]
            raise CheckpointError(f"{whose} is {shown}, this environment {expected}")
        episode = saved.get("episode")
        _check_episode(env, env_id, episode, whose)
        generator, present = saved["generator"], _generator(env)
        # A generator of the same kind says whether it would take the state.
        if present is not None:
            type(present.bit_generator)().state = generator
            _check_position(generator)
        parsed = SavedEnv(
            {
                name: _checked(name, decode(saved["attributes"][name]), size)
                for name, size in SAVABLE.get(expected[2], {}).items()
            },
            generator,
            _count_or_none("elapsed_steps", saved["elapsed_steps"]),
            np.asarray(decode(saved["obs"])),
            _count_or_none("next_seed", saved["next_seed"]),
            _count_or_none("failures", saved.get("failures", 0)) or 0,
            episode,
            truths_from_json(saved.get("truths", []), width),
        )
    except RecursionError as error:
        raise CheckpointError(f"{whose} is damaged: it is nested too deeply") from error
    except (ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        what = f"{type(error).__name__} {error}"[:200]
        raise CheckpointError(f"{whose} is damaged: {what}") from error
    _check_parsed(parsed, env, obs, whose)
    return parsed


def _check_parsed(parsed: SavedEnv, env: Any, obs: np.ndarray, whose: str) -> None:
    """Refuse a time limit that is not here, and an observation of another kind."""
    if (parsed.elapsed_steps is None) != (time_limit(env) is None):
        raise CheckpointError(f"{whose} and this environment do not both have a time limit")
    if parsed.obs.shape != obs.shape or parsed.obs.dtype != obs.dtype:
        raise CheckpointError(
            f"{whose} has an observation {parsed.obs.shape} {parsed.obs.dtype} "
            f"instead of {obs.shape} {obs.dtype}"
        )
    if not np.isfinite(parsed.obs).all():
        raise CheckpointError(f"{whose} has an observation that is not finite")


def _check_episode(env: Any, env_id: str, episode: Any, whose: str) -> None:
    own = own_episode(env)
    if own is None and class_name(env) not in SAVABLE:
        raise CheckpointError(f"{whose} is one of {env_id}, which cannot be restored")
    if (own is None) != (episode is None):
        raise CheckpointError(f"{whose} was not saved in the way of {env_id}")
    if own is not None and hasattr(own, "check_episode"):
        own.check_episode(episode)


def _check_position(generator: Mapping[str, Any]) -> None:
    """Refuse a position beyond the numbers that a bit generator has drawn ahead.

    numpy takes any, and would then read what is not the generator's.
    """
    for position, end in (
        (generator.get("buffer_pos", 0), 4),  # Philox
        (generator["state"].get("pos", 0), 624),  # MT19937
    ):
        if not (type(position) is int and 0 <= position <= end):
            raise ValueError("its random stream has a position beyond its numbers")


def apply_state(env: Any, saved: SavedEnv) -> None:
    """Put a checked state into an environment, which has been reset before.

    Raises:
        CheckpointError: the environment itself refuses it.
    """
    own, generator = own_episode(env), _generator(env)
    if own is not None:
        try:
            own.load_episode(saved.episode)
        except ValueError as error:
            raise CheckpointError(
                f"{class_name(env)} does not take its saved episode: {error}; go on from an "
                "earlier checkpoint, or with the environment that wrote it"
            ) from error
    for name, value in saved.attributes.items():
        setattr(env.unwrapped, name, value)
    if generator is not None:
        generator.bit_generator.state = saved.generator
    limit = time_limit(env)
    if limit is not None:
        limit._elapsed_steps = saved.elapsed_steps


def own_episode(env: Any) -> Any:
    """Return what has ``save_episode`` and ``load_episode`` for an environment; None if nothing."""
    inner = env.unwrapped
    if isinstance(inner, Shell):
        return inner.keeper()
    if hasattr(inner, "save_episode") and hasattr(inner, "load_episode"):
        return inner
    if class_name(env).startswith(mujoco_state.GYM_CLASSES):
        return mujoco_state.GymEpisode(inner)
    return None


def _generator(env: Any) -> Any:
    """Return numpy's generator that an environment draws from; None if it has none."""
    generator = getattr(_inside(env), "np_random", None)
    return generator if hasattr(generator, "bit_generator") else None


def class_name(env: Any) -> str:
    """Return "module:class" of the environment inside its wrappers."""
    kind = type(_inside(env))
    return f"{kind.__module__}:{kind.__qualname__}"


def _inside(env: Any) -> Any:
    inner = env.unwrapped
    return inner.inside if isinstance(inner, Shell) else inner


def _wrappers(env: Any) -> list[Any]:
    found = []
    while env is not env.unwrapped:
        found.append(env)
        env = env.env
    return found


def wrappers_are_known(env: Any) -> bool:
    """Return whether no wrapper changes what the environment does but for one time limit."""
    from gymnasium.wrappers import OrderEnforcing, TimeLimit

    kinds = [type(wrapper) for wrapper in _wrappers(env)]
    return {OrderEnforcing, TimeLimit} >= set(kinds) and kinds.count(TimeLimit) <= 1


def time_limit(env: Any) -> Any:
    """Return the wrapper that limits the episodes' length; None without one."""
    from gymnasium.wrappers import TimeLimit

    limits = [wrapper for wrapper in _wrappers(env) if isinstance(wrapper, TimeLimit)]
    return limits[0] if limits else None


def encode(value: Any) -> Any:
    """Return the value as JSON that remembers numpy's types and tuples."""
    if isinstance(value, np.ndarray):
        return {"array": value.ravel().tolist(), "dtype": value.dtype.str, "shape": value.shape}
    if isinstance(value, np.generic):
        return {"scalar": value.item(), "dtype": value.dtype.str}
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    return value


def decode(value: Any) -> Any:
    """Return what ``encode`` was given."""
    if isinstance(value, dict) and "tuple" in value:
        return tuple(_decode_item(item) for item in value["tuple"])
    return _decode_item(value)


def _decode_item(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value["dtype"] not in DTYPES:
        raise ValueError(f"the type {str(value['dtype'])[:80]!r} is not one of numbers")
    dtype = np.dtype(value["dtype"])
    numbers = [value["scalar"]] if "scalar" in value else value["array"]
    if not all(type(number) in (bool, int, float) for number in numbers):
        raise ValueError("there is something else among its numbers")
    if "scalar" in value:
        return dtype.type(value["scalar"])
    return np.array(numbers, dtype).reshape(value["shape"])


def _checked(name: str, value: Any, size: int) -> Any:
    """Return an attribute that is ``size`` finite numbers; of size 0: one number or None."""
    if size == 0 and value is None:
        return value
    numbers = np.asarray(value)
    if numbers.shape != ((size,) if size else ()) or numbers.dtype.kind not in "iuf":
        raise ValueError(f"{name} is not {size or 1} numbers")
    if not (np.abs(numbers) <= LARGEST).all():
        raise ValueError(f"{name} is beyond +-{LARGEST:g}")
    return value


def _count_or_none(name: str, value: Any) -> int | None:
    if value is not None and not (type(value) is int and 0 <= value < LARGEST_COUNT):
        raise ValueError(f"{name} is not a count")
    return value
