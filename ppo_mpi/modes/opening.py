"""Opening a run for training: a new one, one that goes on, one that is finished, one to clobber.

Nothing is written before it is sure that the run can begin.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ppo_mpi.cli_runs import refuse_changes
from ppo_mpi.config import PLACES, TrainConfig, flatten, resumable_fields, sections, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import START_UP
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.registry import default_run_name
from ppo_mpi.snapshot_checks import check_fits, check_memory
from ppo_mpi.storage import run_folder
from ppo_mpi.storage.checkpoint import Checkpoint, load_newest_everywhere
from ppo_mpi.storage.durable import on_root
from ppo_mpi.storage.run_lock import RunLock
from ppo_mpi.storage.shared_run import refuse_to_train
from ppo_mpi.storage.stored_config import check_environment, stored_config
from ppo_mpi.storage.stored_state import check_state


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
        ConfigError: the run exists with other settings, holds a policy only, or its folder cannot
            be used.
    """
    run_dir = run_dir_of(config)
    lock = RunLock(run_dir)

    def look() -> tuple[bool, list[str]]:
        if not run_dir.is_dir():
            return False, []
        run_folder.refuse_links(run_dir)
        refuse_to_train(run_dir)
        warning = lock.acquire(lambda: comm.heart.beat(START_UP))
        warnings = [warning] if warning else []
        if given.get("clobber"):
            return False, warnings
        run_folder.clean_leftovers(run_dir)
        if run_folder.checkpoints_of(run_dir):
            run_folder.read_tags(run_dir)  # a damaged file is found now, not at the first save
            return True, warnings
        return False, warnings + _begins_anew(run_dir)

    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lock.release)  # unless all goes well
        exists, warnings = on_root(comm, look)  # collective
        checkpoint = None
        finished = False
        if exists:
            checkpoint, damages = load_newest_everywhere(run_dir, comm)  # collective
            warnings += damages
            config = resumed_config(checkpoint, given, config)
            config.validate(comm.world_size)
            check_state(checkpoint, config)
            check_fits(config, checkpoint)
            check_memory(config, comm)
            total = config.num_iterations * config.learning.rollout_timesteps
            finished = checkpoint.state["timesteps"] >= total
        else:
            if "env" not in given:  # it may be that of a stranger's config.yaml
                check_environment(config, given, f"the settings of {run_dir}")
            warnings = warnings + config.without_effect()
        cleanup.pop_all()
    return Opening(run_dir, config, checkpoint, warnings, finished, lock)


def _begins_anew(run_dir: Path) -> list[str]:
    """Return a warning if a run begins where another one did without saving anything.

    Raises:
        CheckpointError: there were checkpoints, and they are gone.
    """
    traces = run_folder.traces_of_checkpoints(run_dir)
    if traces:
        raise CheckpointError(
            f"the run {run_dir} has saved checkpoints (it has {', '.join(traces)}), but none is "
            "there; restore its folders step-... from a copy, or start over with --clobber"
        )
    if not any((run_dir / name).exists() for name in (run_folder.CONFIG, run_folder.PROGRESS)):
        return []
    return [
        f"warning: the job that trained in {run_dir} before ended without having saved a "
        "checkpoint; the run begins anew"
    ]


def resumed_config(
    checkpoint: Checkpoint, given: dict[str, Any], config: TrainConfig
) -> TrainConfig:
    """Return the checkpoint's config with those changes that a run allows.

    Args:
        checkpoint: where the run goes on.
        given: the fields that the user set, by name.
        config: all settings of this job, resolved; where files go is taken from it and never from
            a checkpoint, which may come from elsewhere.

    Raises:
        CheckpointError: the checkpoint's config cannot be, or would run code of its own.
        ConfigError: the user set another value for a field that shapes what was learned.
    """
    base = stored_config(checkpoint)
    here = flatten(config)
    base = with_values(base, {name: here[name] for name in PLACES})
    old, allowed = flatten(base), resumable_fields()
    asked = {name: value for name, value in given.items() if name in old}
    refuse_changes(checkpoint.path.parent, asked, old)
    check_environment(base, given, f"the checkpoint {checkpoint.path}")
    return with_values(base, {name: asked[name] for name in asked if name in allowed})


def prepare_folder(opening: Opening, clobber: bool, comm: Communicator) -> None:
    """Make the run's folder ready for writing; with ``clobber``, empty. Collective.

    Raises:
        ConfigError: the folder cannot be made or written, or another job trains in it; on every
            rank.
    """

    def prepare() -> None:
        run_folder.make_run_dir(opening.run_dir)
        opening.lock.acquire(lambda: comm.heart.beat(START_UP))
        if clobber:
            run_folder.start_over(opening.run_dir)
        elif opening.checkpoint is None and run_folder.checkpoints_of(opening.run_dir):
            raise ConfigError(
                f"another job has trained in {opening.run_dir} while this one was starting; start "
                "the same command again to go on from its last checkpoint, or use another --run"
            )
        if opening.checkpoint is not None:
            _set_its_tags(opening.run_dir, opening.checkpoint)
        run_folder.clear_done(opening.run_dir)
        run_folder.write_config(opening.run_dir, config_text(opening.config))

    on_root(comm, prepare)  # collective


def close_finished(opening: Opening, comm: Communicator) -> None:
    """Do what is left of a run that has reached its total, and give its lock back. Collective.

    The job that trained it may have ended after its last checkpoint and before the mark DONE.
    """

    def close() -> None:
        checkpoint = opening.checkpoint
        assert checkpoint is not None, "a finished run has a checkpoint"
        _set_its_tags(opening.run_dir, checkpoint)
        if not run_folder.is_done(opening.run_dir):
            run_folder.mark_done(opening.run_dir, checkpoint.state["timesteps"])

    on_root(comm, close)  # collective
    opening.lock.release()


def _set_its_tags(run_dir: Path, checkpoint: Checkpoint) -> None:
    """Set the tags that a checkpoint was saved with, if the job ended before it had."""
    run_folder.set_tags(run_dir, checkpoint.state.get("tags", []), checkpoint.path)


def config_text(config: TrainConfig) -> str:
    """Return the config as YAML, by sections; ``--config`` reads it back."""
    tree = {name: asdict(section) for name, section in sections(config).items()}
    for section in tree.values():
        for key, value in section.items():
            section[key] = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(tree, sort_keys=False)
