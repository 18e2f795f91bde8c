"""The environments that a config describes: which suite makes them, with which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ppo_mpi.config import TrainConfig
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.registry import SUITES, lookup, split_env_name


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
    """
    options: dict[str, Any] = {"env_kwargs": config.environment.env_kwargs}
    if suite == "procgen":
        procgen = config.procgen
        own = replace(procgen, num_levels=0, start_level=0) if held_out else procgen
        return options | vars(own) | vars(config.variants)
    if suite == "atari":
        return options | vars(config.atari)
    return options
