"""The loop: collect, learn, log, save; in lock-step on every rank.

Axes: T steps; B environments on this rank.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppo_mpi.build import Run, build_run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import EVALUATING, LOGGING
from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
from ppo_mpi.distributed.records import new_records
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.errors import IterationAbandonedError, RankLostError
from ppo_mpi.learning.episodes import gather_episodes
from ppo_mpi.learning.scheduled import scheduled
from ppo_mpi.learning.schedules import continues_episodes
from ppo_mpi.modes.announcements import announce, announce_resume, say_finished
from ppo_mpi.modes.borrowing import borrow
from ppo_mpi.modes.cloning import begin_imitation
from ppo_mpi.modes.ending import Ending, agree_to_end, conclude, give_up
from ppo_mpi.modes.evaluate import NOT_EVALUATED, Evaluator
from ppo_mpi.modes.filming import start_filming
from ppo_mpi.modes.opening import Opening, close_finished, open_run, prepare_folder
from ppo_mpi.modes.phases import collect, learn, learn_beside, prepare_batch
from ppo_mpi.modes.recovery import Kept, go_on_without_lost, keep
from ppo_mpi.modes.report import report_on_the_way
from ppo_mpi.modes.saving import is_better, milestone_iterations, open_logger, save
from ppo_mpi.snapshot import Snapshot, restore, snapshot_of, with_own_tensors
from ppo_mpi.storage import run_folder
from ppo_mpi.storage.logger import EpisodeRecord, Logger
from ppo_mpi.storage.system_info import system_info, write_system_json


def train_command(
    config: TrainConfig,
    given: dict[str, Any],
    comm: Communicator,
    when_shrunk: Callable[[Communicator], None] = lambda left: None,
) -> int:
    """Train a run to its end, or from where it stopped. Collective.

    Args:
        config: all settings, resolved.
        given: those that the user set, by name (``clobber`` among them).
        comm: the job.
        when_shrunk: is given the job of those that are left when ranks were lost.

    Returns:
        the exit status.

    Raises:
        ConfigError: something cannot be; the message says what and what to change.
    """
    started = time.monotonic()
    config.validate(comm.world_size)
    keep_big_blocks()
    threads = set_threads(config.job.threads, comm.node_affinities, comm.local_rank)
    opening = open_run(config, given, comm)  # collective
    config, checkpoint = opening.config, opening.checkpoint
    if opening.finished:
        return leave_finished(opening, comm)  # collective
    run = build_run(config, comm, checkpoint.state if checkpoint else None)  # collective
    borrow(run, config, checkpoint, comm)  # collective
    prepare_folder(opening, bool(given.get("clobber")), comm)  # collective
    comm.heart.folder = new_records(opening.run_dir, comm.rank)
    logger = open_logger(config, opening.run_dir, comm, checkpoint)
    note_session(opening, comm, logger)  # collective
    if checkpoint is not None:
        announce_resume(checkpoint.path, run, restore(run, checkpoint, comm), logger)  # collective
    announce(run, config, comm, threads, logger)
    begin_imitation(run, config, logger, comm)  # collective
    start_filming(run, config, opening.run_dir, logger)
    kept = keep(run, logger, comm) if comm.survives_losses else None  # collective
    try:
        while True:
            ending, kept = train(
                run, config, comm, logger, opening.run_dir, started, kept
            )  # collective
            if ending is not None:
                break
            assert kept is not None, "only what was kept can be gone on from"
            parts = opening, comm, run, logger, when_shrunk
            comm, run, logger, kept = go_on_without_lost(kept, config, *parts)  # collective
    finally:
        logger.close()
        run.close()
        opening.lock.release()
    conclude(ending, run, config, comm, opening.run_dir)
    return ending.status


def leave_finished(opening: Opening, comm: Communicator) -> int:
    """Say that a run has all its timesteps; return the exit status. Collective."""
    close_finished(opening, comm)  # collective
    say_finished(opening, comm)
    return 0


def note_session(opening: Opening, comm: Communicator, logger: Logger) -> None:
    """Write down on which machine this start of the run is, and show its warnings. Collective."""
    info = system_info(comm)  # collective
    if comm.is_root:
        write_system_json(opening.run_dir, info)
        for warning in opening.warnings:
            logger.message(warning, is_warning=True)


def train(
    run: Run,
    config: TrainConfig,
    comm: Communicator,
    logger: Logger,
    run_dir: Path,
    started: float,
    kept: Kept | None = None,
) -> tuple[Ending | None, Kept | None]:
    """Train until all ranks together have taken the job's timesteps, or are told to stop.

    Collective. Every rank must reach every line marked "collective". Whatever one has seen of
    lost ranks: all that are left agree whether an iteration counts.

    Args:
        run: the parts, from ``build_run``; ``run.progress`` says where a restored run goes on.
        config: validated settings, the same on every rank.
        comm: the ranks that train one model together.
        logger: writes on rank 0.
        run_dir: where rank 0 saves.
        started: ``time.monotonic()`` from which max_seconds counts.
        kept: the run as it is now, in jobs that survive the loss of ranks.

    Returns:
        why the loop ended, or None if ranks were lost; and what to go on from in that case.

    Raises:
        NonFiniteError: a reward, loss or gradient is NaN or infinite.
        ReplicaMismatchError: the ranks no longer hold the same parameters.
    """
    progress = run.progress
    evaluator = Evaluator.for_training(config, run, comm) if config.job.eval_every else None
    ending, begun, lost = None, False, False
    # Seconds of the last iteration of each kind; the same on every rank.
    pace = dict.fromkeys(possible_kinds(run, config), math.inf)
    while ending is None:
        comm.heart.begin_iteration(progress.iteration + 1)
        start, newly_kept = kept.snapshot if kept else None, kept
        try:
            if not begun and comm.any(STOP.requested):  # collective
                ending = give_up(start, config, comm, logger, run_dir)  # collective
            else:
                # A short iteration is over within the grace time: nothing to go back to is needed.
                if start is None and max(pace.values()) > config.job.stop_grace_seconds / 2:
                    start = with_own_tensors(snapshot_of(run))
                ends_phase = run.phasic is not None and run.phasic.ends_phase
                ending, seconds = one_round(
                    run, config, comm, logger, run_dir, started, evaluator, start
                )  # collective
                pace[is_evaluated(run, config, evaluator), ends_phase] = seconds
                newly_kept = keep(run, logger, comm) if comm.survives_losses else None  # collective
            begun = True
        except RankLostError:
            lost = True
        if not comm.agree(not lost):  # collective
            return None, kept
        kept = newly_kept
    if comm.is_root and ending.reason == "finished":
        run_folder.mark_done(run_dir, progress.timesteps)
    return ending, kept


def one_round(
    run: Run,
    config: TrainConfig,
    comm: Communicator,
    logger: Logger,
    run_dir: Path,
    started: float,
    evaluator: Evaluator | None,
    start: Snapshot | None,
) -> tuple[Ending | None, float]:
    """Take one iteration: learn, evaluate and log, save if it is time. Collective.

    Args:
        run: changed in place.
        config: the settings.
        comm: the job.
        logger: writes on rank 0.
        run_dir: where rank 0 saves.
        started: ``time.monotonic()`` from which max_seconds counts.
        evaluator: evaluates now and then; None for never.
        start: the run as it is now; None if the iteration cannot be given up.

    Returns:
        why to end now, or None to go on; and the seconds that all but saving took on rank 0.
    """
    job, progress, begin = config.job, run.progress, time.monotonic()
    STOP.grace_seconds = math.inf if start is None else job.stop_grace_seconds
    abandoned = False
    try:
        metrics, episodes = run_iteration(run, config, comm)  # collective
        metrics |= NOT_EVALUATED  # always columns of the log, so that they may begin on a resume
        if is_evaluated(run, config, evaluator):
            assert evaluator is not None, "it evaluates"
            comm.heart.beat(EVALUATING)
            metrics |= evaluator.metrics(comm)  # collective
    except IterationAbandonedError:  # on all ranks together
        abandoned = True
    if abandoned:
        assert start is not None, "only an iteration that can be repeated is given up"
        return give_up(start, config, comm, logger, run_dir), 0.0  # collective
    comm.heart.beat(LOGGING)
    if comm.is_root:
        logger.log(progress.iteration, progress.timesteps, metrics, episodes)
        report_on_the_way(config, progress.iteration, run_dir, logger)
        logger.parameters(progress.iteration, progress.timesteps, run.model)
    seconds = time.monotonic() - begin
    ending, seconds = agree_to_end(run, config, comm, started, seconds)  # collective
    due = progress.iteration % job.checkpoint_every == 0
    # An evaluation is the same on every rank, so all agree whether it was the best one.
    due |= evaluator is not None and is_better(metrics["eval_mean_return"], progress)
    if due or ending is not None or progress.iteration in milestone_iterations(config):
        score = metrics["eval_mean_return"] if evaluator else logger.mean_return()
        improved = score is not None and is_better(score, progress)
        if improved:
            progress.best_return = score
        comm.check_replicas(run.model)  # collective
        if run.rewarder is not None:
            comm.check_replicas(run.rewarder.model)  # collective
        save(snapshot_of(run), config, comm, logger, run_dir, improved)  # collective
    return ending, seconds


def possible_kinds(run: Run, config: TrainConfig) -> list[tuple[bool, bool]]:
    """Return the kinds of iterations by (evaluated, with an auxiliary phase) that are to come."""
    done, phasic = run.progress.iteration, run.phasic
    every = config.job.eval_every
    length = phasic.policy_iterations if phasic is not None and phasic.keeps_rollouts else 0
    begun = len(phasic.rollouts) if phasic is not None else 0
    left = max(1, config.num_iterations - done)
    kinds = {
        (bool(every) and (done + k) % every == 0, bool(length) and (begun + k) % length == 0)
        for k in range(1, min(left, math.lcm(every or 1, length or 1)) + 1)
    }
    return sorted(kinds)


def is_evaluated(run: Run, config: TrainConfig, evaluator: Evaluator | None) -> bool:
    """Return whether the policy is evaluated after the iteration that was taken last."""
    return evaluator is not None and run.progress.iteration % config.job.eval_every == 0


def run_iteration(
    run: Run, config: TrainConfig, comm: Communicator
) -> tuple[dict[str, float], list[EpisodeRecord]]:
    """Collect one rollout and learn from it. Collective.

    Returns:
        metrics, the same on every rank, and the job's finished episodes (on rank 0; [] elsewhere).

    Raises:
        IterationAbandonedError: a signal to stop came too long ago; on all ranks together. The
            run is then somewhere in the midst of an iteration.
    """
    learning, progress = config.learning, run.progress
    share = config.share_done(progress.iteration)
    now = scheduled(learning, share)
    continue_episodes = continues_episodes(
        learning.soft_resets, learning.soft_resets_from, share, learning.soft_resets_switches
    )
    run.clock.start(comm.seconds)
    rollout = collect(run, config, continue_episodes)
    run.clock.collected()
    if comm.any(rollout is None) or rollout is None:  # collective
        raise IterationAbandonedError("a signal to stop came while collecting")

    batch, metrics = prepare_batch(run, rollout, config, now, continue_episodes, comm)  # collective
    metrics |= learn(run, batch, now, comm)  # collective
    metrics |= learn_beside(run, rollout, now.learning_rate, comm)  # collective
    progress.iteration += 1
    progress.timesteps += learning.rollout_timesteps
    episodes = gather_episodes(run.episodes, comm)  # collective
    restarts = sum(actor.restarts for actor in run.actors)
    metrics |= now.metrics(learning)
    engine_seconds = sum(actor.engine_seconds for actor in run.actors)
    metrics |= run.clock.metrics(comm, engine_seconds, restarts)  # collective
    return metrics, episodes
