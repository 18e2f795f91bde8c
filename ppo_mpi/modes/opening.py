"""Opening a run for training: a new one, one that goes on, one that is finished, one to clobber.

Nothing is written before it is sure that the run can begin.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ppo_mpi.config import TrainConfig, flatten, resumable_fields, sections, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.registry import split_env_name
from ppo_mpi.storage import run_folder
from ppo_mpi.storage.checkpoint import Checkpoint, load_newest_everywhere
from ppo_mpi.storage.durable import on_root
from ppo_mpi.storage.run_lock import RunLock


@dataclass(frozen=True)
class Opening:
    """What training starts from."""

    run_dir: Path
    config: TrainConfig
    checkpoint: Checkpoint | None
    """Where the run goes on; None for a new one."""
    warnings: list[str]
    finished: bool
    """Whether the run has already reached its total."""
    lock: RunLock
    """Keeps other jobs out of the folder until it is released; held by rank 0."""


def default_run_name(env: str) -> str:
    """Return the run's name where none is given: the environment's, fit for a folder."""
    return split_env_name(env)[1].replace("/", "-").replace(":", "-")


def run_dir_of(config: TrainConfig) -> Path:
    """Return the folder of the run that ``config`` is about."""
    job = config.job
    return run_folder.run_dir(job.checkpoint_dir, job.run, default_run_name(config.environment.env))


def open_run(config: TrainConfig, given: dict[str, Any], comm: Communicator) -> Opening:
    """Find out whether the run is new, goes on, or is finished. Collective.

    Args:
        config: all settings, resolved.
        given: the fields among them that the user set, by name.
        comm: the job.

    Raises:
        ConfigError: the run exists with other settings, or its folder cannot be used.
    """
    run_dir = run_dir_of(config)
    lock = RunLock(run_dir)

    def look() -> bool:
        if not run_dir.is_dir():
            return False
        lock.acquire()
        if given.get("clobber"):
            return False
        run_folder.clean_leftovers(run_dir)
        return bool(run_folder.checkpoints_of(run_dir))

    exists = on_root(comm, look)  # collective
    if not exists:
        return Opening(run_dir, config, None, [], False, lock)
    checkpoint, warnings = load_newest_everywhere(run_dir, comm)  # collective
    config = resumed_config(checkpoint, given)
    config.validate(comm.world_size)
    total = config.num_iterations * config.learning.rollout_timesteps
    finished = checkpoint.state["timesteps"] >= total
    return Opening(run_dir, config, checkpoint, warnings, finished, lock)


def resumed_config(checkpoint: Checkpoint, given: dict[str, Any]) -> TrainConfig:
    """Return the checkpoint's config with those changes that a run allows.

    Raises:
        ConfigError: the user set another value for a field that shapes what was learned.
    """
    base = with_values(TrainConfig(), checkpoint.state["config"])
    old, allowed = flatten(base), resumable_fields()
    asked = {name: value for name, value in given.items() if name in old}
    refused = [
        f"{name}={value} (the run has {old[name]})"
        for name, value in sorted(asked.items())
        if name not in allowed and not _same(name, value, old[name])
    ]
    if refused:
        raise ConfigError(
            f"the run {checkpoint.path.parent} goes on with the settings it began with, but "
            f"{', '.join(refused)} was given; leave it out, use another --run, or --clobber to "
            "start over"
        )
    return with_values(base, {name: asked[name] for name in asked if name in allowed})


def _same(name: str, value: Any, old: Any) -> bool:
    if name == "env":
        return split_env_name(value) == split_env_name(old)
    return bool(value == old)


def prepare_folder(opening: Opening, clobber: bool, comm: Communicator) -> None:
    """Make the run's folder ready for writing; with ``clobber``, empty. Collective.

    Raises:
        ConfigError: the folder cannot be made or written, or another job trains in it; on every
            rank.
    """

    def prepare() -> None:
        run_folder.make_run_dir(opening.run_dir)
        opening.lock.acquire()
        if clobber:
            run_folder.start_over(opening.run_dir)
        run_folder.clear_done(opening.run_dir)
        run_folder.write_config(opening.run_dir, config_text(opening.config))

    on_root(comm, prepare)  # collective


def config_text(config: TrainConfig) -> str:
    """Return the config as YAML, by sections; ``--config`` reads it back."""
    tree = {name: asdict(section) for name, section in sections(config).items()}
    for section in tree.values():
        for key, value in section.items():
            section[key] = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(tree, sort_keys=False)
