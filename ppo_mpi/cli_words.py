"""The command line's words -> settings and plain words, in every usual spelling.

``key=value``, ``--key=value`` and ``--key value`` are the same, ``-`` and ``_`` are the same, and
a section may stand in front (``--procgen.num-levels``). Nothing is checked here but the form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError

Kind = Literal["flag", "numbers", "texts", "value"]
"""How many words a setting takes: none needed, numbers, whatever follows, or exactly one."""

BOOLEANS = {"true": True, "yes": True, "on": True, "1": True}
BOOLEANS |= {"false": False, "no": False, "off": False, "0": False}

_ASSIGNMENT = re.compile(r"[A-Za-z][\w.-]*=")
_NUMBERS = re.compile(r"[+-]?\.?\d[^=]*")


# Names that users of other systems know -> ours, where the meaning is the same.
OLD_NAMES = {
    "env_name": "env", "env_id": "env", "environment": "env",
    "exp_name": "run", "model_name": "run",
    "param_name": "preset",
    "num_timesteps": "total_timesteps", "env_steps": "total_timesteps",
    "num_env_steps": "total_timesteps",
    "rng_seed": "seed", "random_seed": "seed",
    "n_envs": "num_envs", "num_processes": "num_envs",
    "checkpoint_interval": "checkpoint_every", "save_interval": "checkpoint_every",
    "log_interval": "log_every",
    "algo": "algorithm", "architecture": "network",
    "epoch": "num_epochs", "ppo_epoch": "num_epochs", "optim_epochs": "num_epochs",
    "mini_batch_per_epoch": "num_minibatches", "num_mini_batch": "num_minibatches",
    "lr": "learning_rate", "optim_stepsize": "learning_rate",
    "gamma": "discount", "discount_gamma": "discount", "lmbda": "gae_lambda",
    "eps_clip": "clip_range", "clip_param": "clip_range", "ppo_epsilon": "clip_range",
    "value_loss_coef": "value_coef", "grad_clip_norm": "max_grad_norm",
    "cuda_deterministic": "deterministic",
    "ui": "display",
    "wandb_project_name": "track_project", "wandb_entity": "track_entity",
}  # fmt: skip
SHORT_NAMES = {"ui"}
"""Of these, names that are ours as well: nothing has to be said of them."""
OLD_PRESETS = {name: f"procgen-{name}" for name in ("easy", "easy-200", "hard", "hard-500")}


@dataclass(frozen=True)
class Setting:
    """One setting as it was typed."""

    key: str
    """Its name with underscores, perhaps with a section: ``procgen.num_levels``."""
    values: tuple[str, ...]
    """The words of its value, not yet converted."""
    typed: str
    """The word that named it, for messages."""


@dataclass(frozen=True)
class Sourced:
    """A value as text, and where it came from."""

    values: tuple[str, ...]
    """The words of the value; one for everything but lists."""
    origin: str
    """``command line``, ``my.yaml:3`` or ``preset cartpole:4``."""


def split_words(argv: Sequence[str], kinds: Mapping[str, Kind]) -> tuple[list[Setting], list[str]]:
    """Tell settings from plain words.

    Args:
        argv: the words behind the program's name.
        kinds: setting name -> how many words it takes; a name that is not in it takes one.

    Returns:
        the settings and the plain words, each in the order in which they were typed.

    Raises:
        ConfigError: a setting lacks its value, or a word begins with one dash.
    """
    settings, plain = [], []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "-h":
            word = "--help"
        if word.startswith("--") and len(word) > 2:
            settings.append(_option(word, words, kinds))
        elif _ASSIGNMENT.match(word):
            name, _, value = word.partition("=")
            key = name.replace("-", "_")
            settings.append(Setting(key, _split_commas(value, _kind(key, kinds)), word))
        elif word in ("-np", "-n"):
            raise ConfigError(
                f"{word} belongs to the launcher: mpirun -np 4 python -m ppo_mpi train coinrun; or "
                "python -m ppo_mpi launch --ranks 4 -- train coinrun"
            )
        elif word.startswith("-") and not _NUMBERS.fullmatch(word):
            raise ConfigError(f"unknown option {word!r}; options have two dashes: --seed 1")
        else:
            plain.append(word)
    return settings, plain


def _option(word: str, following: list[str], kinds: Mapping[str, Kind]) -> Setting:
    """Return the setting that ``word`` begins; take the words of its value from ``following``."""
    name, equals, value = word[2:].partition("=")
    key = name.replace("-", "_")
    section, dot, last = key.rpartition(".")
    if last not in kinds and last.startswith("no_") and kinds.get(last[3:]) == "flag":
        if equals:
            raise ConfigError(f"--{name} takes no value; write --{name[3:]}={value} instead")
        return Setting(section + dot + last[3:], ("false",), word)
    kind = _kind(key, kinds)
    if equals:
        return Setting(key, _split_commas(value, kind), word)
    if kind == "flag":
        explicit = bool(following) and following[0].lower() in BOOLEANS
        return Setting(key, (following.pop(0) if explicit else "true",), word)
    values: list[str] = []
    while following and not following[0].startswith("--"):
        if kind == "numbers" and values and not _NUMBERS.fullmatch(following[0]):
            break
        values.extend(_split_commas(following.pop(0), kind))
        if kind == "value":
            break
    if kind == "value" and not values and last in kinds:
        raise ConfigError(f"--{name} needs a value")
    return Setting(key, tuple(values), word)


def _kind(key: str, kinds: Mapping[str, Kind]) -> Kind:
    return kinds.get(key.rpartition(".")[2], "value")


def _split_commas(value: str, kind: Kind) -> tuple[str, ...]:
    if kind != "numbers":
        return (value,)
    return tuple(part.strip() for part in value.split(",") if part.strip())
