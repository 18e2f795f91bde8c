"""Going on without lost ranks: what each rank keeps of the others, and the job of those left.

At the end of every iteration a rank keeps a copy of all that is the same everywhere, and gives
the state of its environments to the next two ranks. When ranks are lost, the iteration in flight
is repeated from there by those that are left, who share the environments anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ppo_mpi.build import Run, build_run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import SAVING
from ppo_mpi.distributed.machine import set_threads
from ppo_mpi.distributed.records import FAILURE, forget_records, new_records
from ppo_mpi.errors import RankLostError
from ppo_mpi.modes.announcements import announce_loss
from ppo_mpi.modes.filming import start_filming
from ppo_mpi.modes.opening import Opening
from ppo_mpi.modes.saving import open_logger
from ppo_mpi.snapshot import Snapshot, merged, restore, snapshot_of, with_own_tensors
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.durable import on_root
from ppo_mpi.storage.logger import Logger

MIRRORS = 2
"""Ranks that keep another one's environments: as many neighbors may be lost at once."""


@dataclass(frozen=True)
class Part:
    """One rank's environments, by whole-job keys."""

    environments: dict[str, bytes]
    entries: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Kept:
    """What a rank needs to go on without others, from the beginning of an iteration."""

    snapshot: Snapshot
    parts: tuple[Part, ...]
    """Its own, then those of the ranks before it."""
    logger_state: dict[str, Any]
    """Rank 0's."""
    world_size: int


def keep(run: Run, logger: Logger, comm: Communicator) -> Kept:
    """Copy the run between two iterations, and mirror its environments. Collective.

    Raises:
        RankLostError: what was kept before counts on.
    """
    snapshot = with_own_tensors(snapshot_of(run))
    own = Part(snapshot.states(), snapshot.entries)
    distances = range(1, min(MIRRORS, comm.world_size - 1) + 1)
    others = [comm.exchange(own, distance) for distance in distances]  # collective
    # What rank 0 alone knows.
    told = (logger.state_dict(), snapshot.progress.best_return)
    logger_state, best = comm.broadcast_object(told)  # collective
    snapshot = replace(snapshot, progress=replace(snapshot.progress, best_return=best))
    return Kept(snapshot, (own, *others), logger_state, comm.world_size)


def shrink_until_agreed(comm: Communicator) -> Communicator:
    """Return the job of those that are left. Collective, for them."""
    while True:
        left: Communicator | None = None
        try:
            left = comm.shrink()  # collective
        except RankLostError:
            continue  # one more was lost meanwhile: the next attempt is without it
        if left.agree(True):  # collective
            return left
        comm = left


def kept_checkpoint(kept: Kept, config: TrainConfig, comm: Communicator) -> Checkpoint:
    """Put together what those that are left have kept. Collective.

    Args:
        kept: by this rank.
        config: the run's.
        comm: those that are left.

    Returns:
        what a run goes on from; environments of which nobody has the state are not in it, and
        begin afresh with their own streams.
    """
    parts = [part for own in comm.gather_all(kept.parts) for part in own]  # collective
    environments = {key: state for part in parts for key, state in part.environments.items()}
    entries = merged([part.entries for part in parts])
    for name, number, fresh in (
        ("train_episodes", config.environment.num_envs, [0.0, 0]),
        ("test_episodes", config.environment.num_test_envs, [0.0, 0]),
        ("running_returns", config.environment.num_envs, 0.0),
        ("bonus_returns", config.environment.num_envs, 0.0),
        ("intrinsic_returns", config.environment.num_envs, [0.0, 0.0]),
    ):
        if name in entries:
            entries[name] = {str(i): fresh for i in range(number)} | entries[name]
    state = {**vars(kept.snapshot.progress), **entries, "logger": kept.logger_state}
    return Checkpoint(Path("memory"), kept.snapshot.tensors, environments, state)


def go_on_without_lost(
    kept: Kept,
    config: TrainConfig,
    opening: Opening,
    comm: Communicator,
    run: Run,
    logger: Logger,
    when_shrunk: Callable[[Communicator], None],
) -> tuple[Communicator, Run, Logger, Kept]:
    """Put a run back to the beginning of its iteration, on the ranks that are left. Collective.

    Args:
        kept: by this rank, at that beginning.
        config: the run's.
        opening: its folder and lock.
        comm: the job that has lost ranks.
        run: its parts, closed here.
        logger: its logger, closed here.
        when_shrunk: is given the job of those that are left.
    """
    noticed = time.monotonic()
    logger.close()
    run.close()
    while True:
        comm = shrink_until_agreed(comm)  # collective
        comm.heart.folder = new_records(opening.run_dir, comm.rank)
        comm.heart.begin_iteration(kept.snapshot.progress.iteration + 1)
        when_shrunk(comm)
        rebuilt = None
        try:
            rebuilt = rebuild(kept, config, opening, comm, noticed)  # collective
        except RankLostError:
            rebuilt = None
        if comm.agree(rebuilt is not None):  # collective
            assert rebuilt is not None, "what all agree on was done here too"
            return comm, *rebuilt


def rebuild(
    kept: Kept, config: TrainConfig, opening: Opening, comm: Communicator, noticed: float
) -> tuple[Run, Logger, Kept]:
    """Build the run anew from what was kept. Collective.

    Args:
        kept: by this rank.
        config: the run's.
        opening: its folder and lock.
        comm: those that are left.
        noticed: ``time.monotonic()`` when the loss was noticed.

    Raises:
        RankLostError: another rank was lost meanwhile.
    """
    config.validate(comm.world_size)
    threads = set_threads(config.job.threads, comm.node_affinities, comm.local_rank)

    def take_over() -> None:
        opening.lock.acquire(lambda: comm.heart.beat(SAVING))
        # Whose failure this was is told; a later one must not be taken for it.
        forget_records(opening.run_dir, kept.world_size, (FAILURE,))

    on_root(comm, take_over)  # collective
    checkpoint = kept_checkpoint(kept, config, comm)  # collective
    run = build_run(config, comm, checkpoint.state)  # collective
    fresh = restore(run, checkpoint, comm)  # collective
    progress = run.progress
    lost = kept.world_size - comm.world_size
    record = {"iteration": progress.iteration + 1, "ranks": lost, "fresh": fresh}
    progress.losses = [*progress.losses, record]
    logger = open_logger(config, opening.run_dir, comm, checkpoint)
    start_filming(run, config, opening.run_dir, logger)
    newly_kept = keep(run, logger, comm)  # collective
    announce_loss(record, run, threads, comm, logger, time.monotonic() - noticed)
    return run, logger, newly_kept
