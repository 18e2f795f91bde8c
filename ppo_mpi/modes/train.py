"""The loop: collect, learn, log, save; in lock-step on every rank.

Axes: T steps; B environments on this rank.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppo_mpi.build import Progress, Run, build_run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
from ppo_mpi.distributed.signals import EXIT_STOPPED, STOP
from ppo_mpi.learning.advantages import gae
from ppo_mpi.learning.collector import gather_episodes
from ppo_mpi.learning.rollout import Batch, Rollout
from ppo_mpi.learning.schedules import continues_episodes, scheduled
from ppo_mpi.learning.update import update, value_statistics
from ppo_mpi.modes.announcements import announce, announce_resume, say_finished, say_goodbye
from ppo_mpi.modes.evaluate import NOT_EVALUATED, Evaluator
from ppo_mpi.modes.opening import open_run, prepare_folder
from ppo_mpi.snapshot import environments_of, restore, state_of, tensors_of
from ppo_mpi.storage import run_folder
from ppo_mpi.storage.checkpoint import save_checkpoint
from ppo_mpi.storage.durable import on_root
from ppo_mpi.storage.logger import EpisodeRecord, Logger
from ppo_mpi.storage.system_info import system_info, write_system_json


@dataclass(frozen=True)
class Ending:
    """Why the loop ended."""

    reason: str
    """"finished", "time is up" or "stopped by SIGNAL"."""
    status: int
    """Exit status: 0, or 75 for a run that was stopped and can go on."""


def train_command(config: TrainConfig, given: dict[str, Any], comm: Communicator) -> int:
    """Train a run to its end, or from where it stopped. Collective.

    Args:
        config: all settings, resolved.
        given: those that the user set, by name (``clobber`` among them).
        comm: the job.

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
    config = opening.config
    if opening.finished:
        say_finished(opening, comm)
        opening.lock.release()
        return 0
    run = build_run(config, comm)  # collective
    prepare_folder(opening, bool(given.get("clobber")), comm)  # collective
    checkpoint = opening.checkpoint
    iteration = checkpoint.state["iteration"] if checkpoint else 0
    total = config.num_iterations * config.learning.rollout_timesteps
    logger = Logger(opening.run_dir, comm, config.job.display, total, iteration)
    info = system_info(comm)  # collective
    if comm.is_root:
        write_system_json(opening.run_dir, info)
        for warning in opening.warnings:
            logger.message(warning, is_warning=True)
    if checkpoint is not None:
        fresh = restore(run, checkpoint, comm)  # collective
        logger.load_state_dict(checkpoint.state["logger"])
        announce_resume(checkpoint.path, run, fresh, logger)
    announce(run, config, comm, threads, logger)
    try:
        ending = train(run, config, comm, logger, opening.run_dir, started)  # collective
    finally:
        logger.close()
        run.close()
        opening.lock.release()
    if comm.is_root and config.job.display != "off":
        say_goodbye(opening.run_dir, run, ending.reason)
    return ending.status


def train(
    run: Run,
    config: TrainConfig,
    comm: Communicator,
    logger: Logger,
    run_dir: Path,
    started: float,
) -> Ending:
    """Train until all ranks together have taken the job's timesteps, or are told to stop.

    Collective. Every rank must reach every line marked "collective".

    Args:
        run: the parts, from ``build_run``; ``run.progress`` says where a restored run goes on.
        config: validated settings, the same on every rank.
        comm: the ranks that train one model together.
        logger: writes on rank 0.
        run_dir: where rank 0 saves.
        started: ``time.monotonic()`` from which max_seconds counts.

    Raises:
        NonFiniteError: a reward, loss or gradient is NaN or infinite.
        ReplicaMismatchError: the ranks no longer hold the same parameters.
    """
    job, progress = config.job, run.progress
    evaluator = Evaluator.for_training(config, run, comm) if job.eval_every else None
    milestones = milestone_iterations(config)
    ending = None
    while ending is None:
        metrics, episodes = run_iteration(run, config, comm)  # collective
        metrics |= NOT_EVALUATED  # always columns of the log, so that they may begin on a resume
        if evaluator is not None and progress.iteration % job.eval_every == 0:
            metrics |= evaluator.metrics(comm)  # collective
        if comm.is_root:
            logger.log(progress.iteration, progress.timesteps, metrics, episodes)
        ending = agree_to_end(run, config, comm, started)  # collective
        due = progress.iteration % job.checkpoint_every == 0
        # An evaluation is the same on every rank, so all agree whether it was the best one.
        due |= evaluator is not None and is_better(metrics["eval_mean_return"], progress)
        if due or ending is not None or progress.iteration in milestones:
            score = metrics["eval_mean_return"] if evaluator else logger.mean_return()
            save(run, config, comm, logger, run_dir, score)  # collective
    if comm.is_root and ending.reason == "finished":
        run_folder.mark_done(run_dir, progress.timesteps)
    return ending


def run_iteration(
    run: Run, config: TrainConfig, comm: Communicator
) -> tuple[dict[str, float], list[EpisodeRecord]]:
    """Collect one rollout and learn from it. Collective.

    Returns:
        metrics, the same on every rank, and the job's finished episodes (on rank 0; [] elsewhere).
    """
    learning, progress = config.learning, run.progress
    share = min(1.0, progress.iteration / config.num_iterations)
    continue_episodes = continues_episodes(learning.soft_resets, learning.soft_resets_from, share)
    begin, waited = time.monotonic(), comm.seconds
    rollout = run.collector.collect(progress.iteration, continue_episodes)
    if run.test_actor is not None:
        run.test_actor.play(progress.iteration, config.rollout_steps, continue_episodes)
    collected = time.monotonic()

    batch = make_batch(run, rollout, config, comm)  # collective
    learning_rate = scheduled(
        learning.learning_rate,
        learning.final_learning_rate,
        learning.learning_rate_schedule,
        share,
    )
    clip_range = scheduled(learning.clip_range, 0.0, learning.clip_range_schedule, share)
    metrics = value_statistics(batch, comm)  # collective
    metrics |= update(
        run.learner,
        batch,
        run.collector.actor.envs.indices,
        progress.iteration,
        learning_rate,
        clip_range,
        comm,
    )  # collective
    if run.observation_normalizer is not None:
        run.observation_normalizer.update(comm)  # collective
    progress.iteration += 1
    progress.timesteps += learning.rollout_timesteps
    episodes = gather_episodes(run.actors, comm)  # collective
    seconds = np.array([collected - begin, time.monotonic() - collected, comm.seconds - waited])
    seconds = comm.sum(seconds) / comm.world_size  # collective
    names = ("collect_seconds", "update_seconds", "communication_seconds")
    metrics |= {"learning_rate": learning_rate, "clip_range": clip_range}
    metrics |= dict(zip(names, seconds.tolist(), strict=True))
    return metrics, episodes


def make_batch(run: Run, rollout: Rollout, config: TrainConfig, comm: Communicator) -> Batch:
    """Turn a rollout into advantages and value targets. Collective.

    Returns:
        this rank's share, [T, B]; advantages are normalized over the job if the config says so.
    """
    learning = config.learning
    rewards = rollout.rewards
    if run.reward_normalizer is not None:
        ended = rollout.terminated | rollout.truncated
        rewards = run.reward_normalizer(rewards, ended, comm)  # collective
    device = rollout.values.device
    advantages, returns = gae(
        torch.from_numpy(rewards).to(device),
        rollout.values,
        rollout.next_values,
        torch.from_numpy(rollout.terminated).to(device),
        torch.from_numpy(rollout.truncated).to(device),
        learning.discount,
        learning.gae_lambda,
    )
    if learning.normalize_advantages == "rollout":
        mean, deviation = comm.moments(advantages.reshape(-1, 1))  # collective
        advantages = (advantages - mean) / (deviation + 1e-8)
    return Batch(rollout, advantages, returns)


def agree_to_end(
    run: Run, config: TrainConfig, comm: Communicator, started: float
) -> Ending | None:
    """Return why to end now, or None to go on; the same on every rank. Collective."""
    max_seconds = config.job.max_seconds
    time_is_up = comm.is_root and 0 < max_seconds <= time.monotonic() - started
    stops, late = comm.sum(np.array([int(STOP.requested), int(time_is_up)]))  # collective
    if run.progress.iteration >= config.num_iterations:
        return Ending("finished", 0)
    if stops:
        return Ending(f"stopped by {STOP.signal_name or 'a signal'}", EXIT_STOPPED)
    return Ending("time is up", 0) if late else None


def is_better(score: float, progress: Progress) -> bool:
    """Return whether a mean return beats that of the best checkpoint; never if it is NaN."""
    return score > (-math.inf if progress.best_return is None else progress.best_return)


def milestone_iterations(config: TrainConfig) -> dict[int, str]:
    """Return iteration -> tag of the checkpoints that stay, spread evenly over the job."""
    count, iterations = config.job.num_checkpoints, config.num_iterations
    return {-(-k * iterations // count): f"milestone-{k}" for k in range(1, count + 1)}


def save(
    run: Run,
    config: TrainConfig,
    comm: Communicator,
    logger: Logger,
    run_dir: Path,
    score: float | None,
) -> None:
    """Save everything that shapes the future; tag and prune. Collective; rank 0 writes.

    Args:
        run: what to save.
        config: the run's settings, saved as well.
        comm: the job.
        logger: its episode window and clock are saved.
        run_dir: the run's folder.
        score: mean return by which the best checkpoint is told; None if not known now.

    Raises:
        ReplicaMismatchError: the ranks hold different parameters.
        CheckpointError: it cannot be written; on every rank.
    """
    comm.check_replicas(run.model)  # collective
    progress = run.progress
    improved = score is not None and is_better(score, progress)
    if improved:
        progress.best_return = score
    state = state_of(run, config, comm)  # collective
    state["logger"] = logger.state_dict()
    logger.flush()
    path = save_checkpoint(
        run_dir, progress.timesteps, tensors_of(run), environments_of(run), state, comm
    )  # collective

    def tag() -> None:
        if improved:
            run_folder.set_tag(run_dir, "best", path)
        milestone = milestone_iterations(config).get(progress.iteration)
        if milestone:
            run_folder.set_tag(run_dir, milestone, path)
        run_folder.prune(run_dir, config.job.keep_checkpoints)

    on_root(comm, tag)  # collective
