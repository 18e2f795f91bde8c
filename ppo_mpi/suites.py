"""The environments that a config describes: which suite makes them, with which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.corrupted import CorruptedEnvs
from ppo_mpi.envs.listed_levels import ListedLevels
from ppo_mpi.envs.several import SeveralEnvs
from ppo_mpi.envs.truths import Told
from ppo_mpi.registry import SUITES, lookup, names_of, split_env_name
from ppo_mpi.settings.procgen import ProcgenConfig

TELLING_NOTHING = {"auxiliary_heads": (), "bonus_rewards": False}
"""Settings of environments that an agent is only shown in: they may know no truths."""


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
    suite, _ = split_env_name(config.environment.env)
    options = suite_options(config, suite, held_out)
    if suite in ("procgen", "atari"):
        options["num_threads"] = engine_threads
    else:
        options["restart_failed"] = restart_failed
    make = lookup("environment suite", SUITES, suite)
    listed = options.pop("level_seeds", ())
    told = Told(config.auxiliary.heads, config.auxiliary.bonus_rewards)

    def make_game(name: str, own: Sequence[int]) -> VecEnvs:
        task = split_env_name(name)[1]
        envs: VecEnvs = make(task, own, seed, stream=stream, render=render, options=options)
        if told != Told():
            envs.tell(told)
        return envs

    names = names_of(config.environment.env)
    envs = make_game(names[0], indices) if len(names) == 1 else SeveralEnvs(
        names, indices, make_game
    )  # fmt: skip
    if listed:
        envs = ListedLevels(envs, listed, seed, stream)
    spoiled = config.corruption
    if spoiled.corruption == "none":
        return envs
    return CorruptedEnvs(envs, spoiled.corruption, spoiled.corruption_severity, seed, stream)


def tested_config(config: TrainConfig) -> TrainConfig:
    """Return the config of the environments that are tested in during training."""
    other = config.environment.test_env
    return with_values(config, {"env": other, **TELLING_NOTHING}) if other else config


def all_levels(procgen: ProcgenConfig) -> ProcgenConfig:
    """Return the options without a restricted set of levels."""
    return replace(procgen, num_levels=0, start_level=0, level_seeds=())


def suite_options(config: TrainConfig, suite: str, held_out: bool) -> dict[str, Any]:
    """Return the settings that a suite's environments take, by name.

    Args:
        config: all settings.
        suite: a key of ``SUITES``.
        held_out: whether on all levels instead of the training levels, where there are levels.
    """
    options: dict[str, Any] = {"env_kwargs": config.environment.env_kwargs}
    if suite == "procgen":
        procgen = config.procgen
        own = all_levels(procgen) if held_out else procgen
        return options | vars(own) | vars(config.variants)
    if suite == "atari":
        return options | vars(config.atari)
    return options
