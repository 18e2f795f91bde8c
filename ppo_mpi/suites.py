"""The environments that a config describes: which suite makes them, with which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from ppo_mpi.config import TrainConfig
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.errors import ConfigError
from ppo_mpi.registry import SUITES, lookup, split_env_name, unknown_name
from ppo_mpi.settings.atari import AtariConfig
from ppo_mpi.settings.procgen import ProcgenConfig

WITH_ARGUMENTS = ("dmc", "gym", "oldgym", "pybullet", "user")
"""Suites whose environments are made with ``env_kwargs``."""
WITH_SETTINGS: dict[str, tuple[str, Any]] = {
    "procgen": ("Procgen", ProcgenConfig),
    "atari": ("Atari", AtariConfig),
}
"""Suites whose options are settings: how messages call them, and the section."""


def make_envs(
    config: TrainConfig,
    indices: Sequence[int],
    seed: int,
    stream: str,
    held_out: bool = False,
    render: bool = False,
    restart_failed: bool = False,
    engine_threads: int = 0,
) -> VecEnvs:
    """Make the environments with these whole-job indices.

    Args:
        config: names the environment and its options.
        indices: may be empty.
        seed: of all their streams.
        stream: what they are for; part of the key of their streams.
        held_out: whether on all levels instead of the training levels.
        render: whether ``render`` will be called.
        restart_failed: whether one that raises is made anew; suites that cannot raise ignore it.
        engine_threads: threads of an engine that can use some; 0 = the calling thread alone.
    """
    suite, task = split_env_name(config.environment.env)
    options = suite_options(config, suite, held_out)
    if suite in ("procgen", "atari"):
        options["num_threads"] = engine_threads
    else:
        options["restart_failed"] = restart_failed
    make = lookup("environment suite", SUITES, suite)
    envs: VecEnvs = make(task, indices, seed, stream=stream, render=render, options=options)
    return envs


def suite_options(config: TrainConfig, suite: str, held_out: bool) -> dict[str, Any]:
    """Return the settings that a suite's environments take, by name.

    Args:
        config: all settings.
        suite: a key of ``SUITES``.
        held_out: whether on all levels instead of the training levels, where there are levels.

    Raises:
        ConfigError: the environment takes no ``env_kwargs``, but some were given.
    """
    if suite in WITH_SETTINGS:
        _refuse_kwargs(suite, config.environment.env_kwargs)
    if suite == "procgen":
        procgen = config.procgen
        levels = replace(procgen, num_levels=0, start_level=0) if held_out else procgen
        return vars(levels) | vars(config.variants)
    env_kwargs = config.environment.env_kwargs
    if suite in WITH_ARGUMENTS:
        return {"env_kwargs": env_kwargs}
    if env_kwargs:
        raise ConfigError(f"env_kwargs={' '.join(env_kwargs)!r}: the suite {suite} takes none")
    if suite == "atari":
        return vars(config.atari).copy()
    return {}


def _refuse_kwargs(suite: str, env_kwargs: Sequence[str]) -> None:
    """Refuse arguments for Procgen and Atari, whose options are settings.

    Raises:
        ConfigError: there are some; the message names the settings to use.
    """
    title, config_class = WITH_SETTINGS[suite]
    known = {f.name for f in fields(config_class)}
    for item in env_kwargs:
        name, _, value = item.partition("=")
        if name in known:
            option = f"--{name.replace('_', '-')} {value}"
            raise ConfigError(
                f"env_kwargs={item!r}: {title}'s options are settings of their own; use {option}"
            )
        raise ConfigError(f"env_kwargs={item!r}: {unknown_name(f'{title} option', name, known)}")
