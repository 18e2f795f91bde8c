"""``env_kwargs`` of suites whose options are settings: which arguments are taken beside those.

An argument that is one of the settings has one place, its setting, so that a run's config says it
once; the messages here lead there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ppo_mpi.envs.gym_making import parse_env_kwargs
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.atari import AtariConfig
from ppo_mpi.settings.procgen import ProcgenConfig

LARGEST_INT = 2**31 - 1
"""What the engines, which are C++, take as a whole number."""


def whole(value: Any) -> str | None:
    """Return what a value must be, a whole number of the engines, if it is not; else None."""
    is_whole = type(value) is int and abs(value) <= LARGEST_INT
    return None if is_whole else f"a whole number within +-{LARGEST_INT}"


def from_0(value: Any) -> str | None:
    """Return what a value must be, a whole number from 0, if it is not; else None."""
    return None if whole(value) is None and value >= 0 else "a whole number from 0"


def from_1(value: Any) -> str | None:
    """Return what a value must be, a whole number from 1, if it is not; else None."""
    return None if whole(value) is None and value >= 1 else "a whole number from 1"


@dataclass(frozen=True)
class Arguments:
    """What one suite's environments take."""

    title: str
    """How messages call the suite."""
    own: Mapping[str, Callable[[Any], str | None]]
    """Those that are taken -> says what a value must be if it is not, else None."""
    settings: tuple[str, ...] = ()
    """Names of the suite's settings."""
    renamed: Mapping[str, str] | None = None
    """Arguments by the names that the packages give them -> the setting, or what to do instead."""


PROCGEN = Arguments(
    "Procgen",
    {"debug_mode": whole},
    tuple(field.name for field in fields(ProcgenConfig)),
    {
        "num": "the setting num_envs",
        "num_envs": "the setting num_envs",
        "env_name": "the environment's name: --env coinrun",
        "rand_seed": "the setting seed",
        "num_threads": "the setting threads",
        "render_mode": "chosen by what the environments are for; record and play draw",
        "resource_root": "the folder of the installed package",
        "debug": "without effect in a library that comes compiled; debug_mode has one",
    },
)
"""Of ``procgen.ProcgenGym3Env``."""
ATARI = Arguments(
    "Atari",
    {"mode": from_0, "difficulty": from_0},
    tuple(field.name for field in fields(AtariConfig)),
    {
        # ale_py's environment
        "game": "the environment's name: --env atari:Pong",
        "obs_type": "the settings atari_obs (frames or ram) and grayscale",
        "frameskip": "the setting frame_skip",
        "repeat_action_probability": "the setting sticky_actions",
        "max_num_frames_per_episode": "the setting max_episode_frames",
        "render_mode": "chosen by what the environments are for; record and play draw",
        "continuous": "not known here; gym:ALE/Pong-v5 --env-kwargs continuous=true has it",
        "continuous_action_threshold": "not known here; gym:ALE/Pong-v5 has it",
        "sound_obs": "not known here; gym:ALE/Pong-v5 --env-kwargs sound_obs=true has it",
        # the emulator itself
        "random_seed": "the setting seed",
        "color_averaging": "not known here; the setting max_over_frames does what it is for",
        "reward_min": "the setting reward_bounds, as returns stay those of the game",
        "reward_max": "the setting reward_bounds, as returns stay those of the game",
        "truncate_on_loss_of_life": "the setting life_loss_ends",
        # EnvPool
        "task": "the environment's name: --env atari:Pong",
        "num_envs": "the setting num_envs",
        "num_threads": "the setting threads",
        "seed": "the setting seed",
        "env_seed": "the setting seed",
        "max_episode_steps": "the setting max_episode_frames, which counts frames",
        "stack_num": "the setting frame_stack",
        "episodic_life": "the setting life_loss_ends",
        "zero_discount_on_life_loss": "the setting life_loss_ends",
        "reward_clip": "the setting reward_sign, as returns stay those of the game",
        "use_fire_reset": "the setting fire_on_reset",
        "img_height": "the setting screen_size",
        "img_width": "the setting screen_size",
        "gray_scale": "the setting grayscale",
        "use_inter_area_resize": "always true: frames are scaled by areas",
    },
)
"""Of ``ale_py.AtariEnv``, of the emulator below it and of EnvPool's environments."""
PROBE = Arguments("probe", {"max_steps": from_1})


def own_arguments(known: Arguments, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in ``options["env_kwargs"]``, checked.

    Args:
        known: what the suite's environments take.
        options: of the suite; ``env_kwargs`` is a sequence of "key=value", may be absent.

    Raises:
        ConfigError: an argument is a setting, is unknown, or has a value that it cannot have.
    """
    items = tuple(options.get("env_kwargs", ()))
    found = parse_env_kwargs({"env_kwargs": items})
    for item in items:
        name, _, text = item.partition("=")
        if name in known.own:
            wanted = known.own[name](found[name])
            if wanted is not None:
                raise ConfigError(f"env_kwargs={item!r}: {name} must be {wanted}")
            continue
        raise ConfigError(f"env_kwargs={item!r}: {_refusal(known, name, text)}")
    return found


def _refusal(known: Arguments, name: str, text: str) -> str:
    if name in known.settings:
        option = f"--{name.replace('_', '-')} {text}"
        return f"{known.title}'s options are settings of their own; use {option}"
    renamed = known.renamed or {}
    if name in renamed:
        return f"{name} is {renamed[name]}"
    near = difflib.get_close_matches(name, [*known.own, *known.settings, *renamed], n=3, cutoff=0.6)
    nearest = f"did you mean {' or '.join(near)}? " if near else ""
    settings = f", and as settings {', '.join(known.settings)}" if known.settings else ""
    return (
        f"unknown {known.title} argument {name!r}; {nearest}"
        f"known: {', '.join(known.own) or 'none'}{settings}"
    )
