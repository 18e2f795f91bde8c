"""The config that a checkpoint carries, which may come from a stranger.

Every value is checked before anything is made by it: its type, its size, and whether the
environment that it names would run code of the stranger's choice.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from ppo_mpi.config import TrainConfig, sections, with_values
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.registry import names_of, split_env_name
from ppo_mpi.settings.network import OF_VALUE
from ppo_mpi.settings.procgen import MOST_LISTED
from ppo_mpi.storage.checkpoint import Checkpoint

TRUSTED_MODULES = "PPO_MPI_TRUSTED_MODULES"
"""Environment variable: modules, separated by commas, whose environments a checkpoint may name."""

# Far beyond what anybody trains with; they keep a number from filling the memory by itself.
LARGEST = {
    "channel_multiplier": 1e3,
    "feature_size": 10**6,
    "conv_channels": 10**5,
    **dict.fromkeys(OF_VALUE, 10**6),
    **{f"value_{name}": 10**6 for name in OF_VALUE},
    "reward_feature_size": 10**6,
    "encoder_hidden_sizes": 10**6,
    "encoded_size": 10**6,
    "inverse_hidden_sizes": 10**6,
    "forward_hidden_sizes": 10**6,
    "rnd_output_size": 10**6,
    "rnd_predictor_sizes": 10**6,
    "reward_epochs": 10**6,
    "discriminator_hidden_sizes": 10**6,
    **dict.fromkeys(("gail_epochs", "gail_first_epochs", "cloning_epochs"), 10**6),
    "ucb_window": 10**6,
    "policy_iterations": 10**6,
    "value_epochs": 10**6,
    "aux_epochs": 10**6,
    "aux_minibatches": 10**6,
    "num_envs": 10**6,
    "num_test_envs": 10**6,
    "num_epochs": 10**6,
    "num_checkpoints": 10**6,
    "eval_episodes": 10**6,
}
MAX_ITEMS = 100
"""Items of a setting that is a list."""
MORE_ITEMS = {"level_seeds": MOST_LISTED}
"""Of settings that are longer lists."""
MAX_TEXT = 4096
"""Letters of a setting that is a text."""
_PLAIN_KWARG = re.compile(r"[A-Za-z_]\w{0,63}=[\w+\-., \[\]]{0,200}", re.ASCII)
_HIDDEN_FILE = re.compile(r"[=\[ ,]\.\D")
_MAX_BRACKETS = 8


def stored_config(checkpoint: Checkpoint) -> TrainConfig:
    """Return the config that a checkpoint carries, each value of its type and in its range.

    Settings that the checkpoint does not have are at their defaults.

    Raises:
        CheckpointError: a value cannot be; the message names it.
    """
    values = checkpoint.state.get("config")
    if not isinstance(values, dict):
        raise CheckpointError(f"the checkpoint {checkpoint.path} carries no config")
    annotations = _annotations()
    for name, value in values.items():
        if name not in annotations:
            raise CheckpointError(
                f"the checkpoint {checkpoint.path} carries the unknown setting {name[:80]!r}; "
                "read it with the version of ppo_mpi that wrote it"
            )
        most = MORE_ITEMS.get(name, MAX_ITEMS)
        if not _fits(value, annotations[name], most) or _is_too_large(name, value):
            raise CheckpointError(
                f"the checkpoint {checkpoint.path} carries {name}={repr(value)[:80]}, which is "
                "not a value of this setting; use a checkpoint that was written by ppo_mpi"
            )
    config = with_values(TrainConfig(), values)
    try:
        config.validate(1)
        for env in _named_in(config):
            split_env_name(env)
    except ConfigError as error:
        raise CheckpointError(f"the checkpoint {checkpoint.path} carries {error}") from error
    return config


def _annotations() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in sections(TrainConfig()).values():
        found |= typing.get_type_hints(type(section))
    return found


def _fits(value: Any, annotation: Any, most_items: int = MAX_ITEMS) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        is_list = isinstance(value, (list, tuple)) and len(value) <= most_items
        return is_list and all(_fits(item, arguments[0]) for item in value)
    if annotation is str:
        return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()
    if annotation is float:
        return is_number(value)
    if annotation is int:
        return is_whole(value) and abs(value) < 2**63
    return type(value) is annotation


def is_whole(value: Any) -> bool:
    """Return whether JSON gave a whole number, and not a boolean."""
    return type(value) is int


def is_number(value: Any) -> bool:
    """Return whether JSON gave a finite number, and not a boolean."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_too_large(name: str, value: Any) -> bool:
    numbers = value if isinstance(value, (list, tuple)) else [value]
    return name in LARGEST and any(number > LARGEST[name] for number in numbers)


def check_environment(config: TrainConfig, typed: Mapping[str, Any], whose: str) -> None:
    """Refuse a stored environment that would let a stranger run code or open files.

    A Gymnasium id ``module:Name-v0`` imports the module, ``module:callable`` calls the callable as
    well, and an environment's arguments may name files. What the user typed the same is the
    user's own wish. The environment variable ``PPO_MPI_TRUSTED_MODULES`` names the modules and
    the callables (``module:callable``) that the user trusts; a module that has been imported
    already runs nothing more. Of the arguments, numbers and plain words pass.

    Args:
        config: from a checkpoint.
        typed: the settings that the user gave, by name.
        whose: names the checkpoint, for messages.

    Raises:
        CheckpointError: it is refused; the message says how to allow it.
    """
    for env in _named_in(config):
        _check_code(env, config, typed, whose)
    kwargs = config.environment.env_kwargs
    if kwargs == tuple(typed.get("env_kwargs", ())):
        return
    for item in kwargs:
        if not _is_plain(item):
            raise CheckpointError(
                f"{whose} carries env_kwargs={item[:80]!r}, which is neither a number nor a plain "
                f"word; if you trust it, name it yourself: --env-kwargs {item[:80]!r}"
            )


def _named_in(config: TrainConfig) -> list[str]:
    """Return every environment that a config names."""
    environment = config.environment
    tested = names_of(environment.test_env) if environment.test_env else ()
    return [*names_of(environment.env), *tested]


def words_of_trust(config: TrainConfig) -> tuple[str, str]:
    """Return what stands before and behind a command line about a run for its code to be run.

    Both are empty where the environment is nobody's code and its arguments are plain words.
    """
    environment = config.environment
    kwargs = environment.env_kwargs
    behind = ""
    if not all(map(_is_plain, kwargs)):
        behind = " --env-kwargs " + " ".join(map(shlex.quote, kwargs))
    codes = _codes_in(config)
    if not codes:
        return "", behind
    if _named_in(config) == [environment.env]:
        return "", f" --env {shlex.quote(environment.env.removeprefix('user:'))}{behind}"
    return f"{TRUSTED_MODULES}={shlex.quote(','.join(codes))} ", behind  # --env names one only


def _codes_in(config: TrainConfig) -> list[str]:
    """Return what the environments of a config import or call of others' code, each once."""
    return [code for code in dict.fromkeys(map(_code_of, _named_in(config))) if code]


def _is_plain(item: str) -> bool:
    """Return whether an argument of an environment, key=value, opens no file."""
    plain = _PLAIN_KWARG.fullmatch(item) and not _HIDDEN_FILE.search(item)
    return bool(plain) and item.count("[") <= _MAX_BRACKETS


def _check_code(env: str, config: TrainConfig, typed: Mapping[str, Any], whose: str) -> None:
    """Refuse one environment that would run code, as ``check_environment`` has it."""
    code = _code_of(env)
    if code and not _is_typed(env, typed):
        trusted = os.environ.get(TRUSTED_MODULES, "").split(",")
        # Having been imported says nothing of a callable: os.system is there in every process.
        if code not in trusted and (":" in code or code not in sys.modules):
            what = "called" if ":" in code else "imported"
            codes = _codes_in(config)
            name = f"name it yourself: --env {env} (or set {TRUSTED_MODULES}={code})"
            if len(codes) > 1:  # --env would name one of them only
                name = f"say so: {TRUSTED_MODULES}={','.join(codes)}"
            raise CheckpointError(
                f"{whose} names the environment {env}, for which {code} would be {what}; if you "
                f"trust it, {name}"
            )


def _code_of(env: str) -> str:
    """Return what an environment's name imports or calls of others' code; empty if nothing."""
    suite, task = split_env_name(env)
    if suite == "user":
        return task
    return task.partition(":")[0] if ":" in task else ""


def check_named(config: TrainConfig, named: Mapping[str, Any], run: Path) -> None:
    """Refuse other arguments than the run's, and another environment where users' code runs.

    An agent may be shown in another environment of a suite, but neither in place of a user's own
    nor in one.

    Args:
        config: of the run.
        named: ``env`` and ``env_kwargs`` as the user named them; empty if not.
        run: the run's folder, for the message.

    Raises:
        ConfigError: they differ.
    """
    environment = config.environment
    env, kwargs = str(named.get("env", "")), tuple(named.get("env_kwargs", ()))
    known = [split_env_name(name) for name in (environment.env, *names_of(environment.env))]
    is_other = bool(env) and split_env_name(env) not in known
    if env and is_other and any(map(_code_of, [*names_of(env), *names_of(environment.env)])):
        raise ConfigError(
            f"env={env}, but {run} was trained in {environment.env}, and where one of them is code "
            "of a user's own an agent is shown in its run's environment; leave it out"
        )
    if kwargs and kwargs != environment.env_kwargs:
        raise ConfigError(
            f"env_kwargs={' '.join(kwargs)!r}, but {run} was trained with "
            f"{' '.join(environment.env_kwargs)!r}; leave it out"
        )


def _is_typed(env: str, typed: Mapping[str, Any]) -> bool:
    named = [typed[setting] for setting in ("env", "test_env") if typed.get(setting)]
    known = [split_env_name(name) for text in named for name in names_of(text)]
    return split_env_name(env) in known
