"""The same from Python: train, load, act, predict, evaluate, collect."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ppo_mpi.agent import Agent, load_agent
from ppo_mpi.cli import parse_command
from ppo_mpi.config import TrainConfig, flatten, with_values
from ppo_mpi.distributed.communicator import Communicator, connect
from ppo_mpi.distributed.watchdog import Watchdog
from ppo_mpi.modes.collecting import collect
from ppo_mpi.modes.evaluation_report import EvaluationResult
from ppo_mpi.modes.opening import run_dir_of
from ppo_mpi.modes.run_handle import Run
from ppo_mpi.modes.run_handle import evaluate_alone as evaluate
from ppo_mpi.modes.saved_steps import Steps, load_steps
from ppo_mpi.modes.steps import Step
from ppo_mpi.modes.train import train_command

__all__ = [
    "Agent", "EvaluationResult", "Run", "Step", "Steps", "TrainConfig", "collect", "evaluate",
    "load", "load_agent", "load_steps", "train",
]  # fmt: skip

load = load_agent


def train(
    env: str | TrainConfig = "",
    preset: str = "",
    *,
    config: str | Path = "",
    clobber: bool = False,
    comm: Communicator | None = None,
    **settings: Any,
) -> Run:
    """Train a run, or go on with it, as ``python -m ppo_mpi train`` does. Collective.

    Args:
        env: environment; empty takes the preset's, or coinrun. Or a whole config.
        preset: published settings by name; empty takes the one registered for the environment.
        config: YAML file with settings, as ``--config``.
        clobber: whether to start over a run of the same name.
        comm: the job; None joins the one that a launcher started, if any.
        settings: config fields by name, for example ``num_envs=8``; stronger than all else.

    Returns:
        the run, on every rank.

    Raises:
        ConfigError: something cannot be; the message says what and what to change.
    """
    whole, named = (env, "") if isinstance(env, TrainConfig) else (None, env)
    if whole is not None and (preset or config):
        raise TypeError("a whole config has no preset and no file beside it; use settings")
    # It has presets of its own; beside one that is named it is checked with all other settings.
    algorithm = "" if whole or preset else settings.get("algorithm", "")
    sources = (("env", named), ("preset", preset), ("config", config), ("algorithm", algorithm))
    command = parse_command(["train", *(f"--{key}={value}" for key, value in sources if value)])
    settled = with_values(whole or command.config, settings)
    values = flatten(settled)  # lists have become tuples, as a checkpoint's
    chosen = values if whole else command.given | {name: values[name] for name in settings}
    comm = comm or connect(survive_losses=settled.job.on_failure == "shrink")  # collective
    # The process's own standard error: a notebook's has no descriptor.
    console = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    watchdog = Watchdog(comm, settled.job.hang_timeout_seconds, console)
    watchdog.start()
    try:
        given = chosen | {"clobber": clobber}
        status = train_command(settled, given, comm, watchdog.follow)  # collective
    finally:
        watchdog.stop()
    return Run(run_dir_of(settled), status, settled)
