"""A training job's logs and checkpoints: when, from where, and under which tags."""

from __future__ import annotations

import math
from pathlib import Path

from ppo_mpi.build import Progress
from ppo_mpi.config import TrainConfig, flatten
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import SAVING
from ppo_mpi.envs.procgen_scores import normalized_score
from ppo_mpi.registry import names_of, split_env_name
from ppo_mpi.snapshot import Snapshot, state_of
from ppo_mpi.storage import run_folder
from ppo_mpi.storage.checkpoint import Checkpoint, save_checkpoint
from ppo_mpi.storage.durable import on_root
from ppo_mpi.storage.logger import EPISODE_WINDOW, Logger
from ppo_mpi.storage.per_game import GameCurves
from ppo_mpi.storage.trackers import Tracking


def open_logger(
    config: TrainConfig, run_dir: Path, comm: Communicator, checkpoint: Checkpoint | None
) -> Logger:
    """Open the run's curves, cut at the checkpoint that it goes on from, if there is one."""
    iteration = checkpoint.state["iteration"] if checkpoint else 0
    total = config.num_iterations * config.learning.rollout_timesteps
    games = game_curves(config)
    state = checkpoint.state["logger"] if checkpoint else {}
    logged, job = state.get("logged_iteration"), config.job
    logger = Logger(
        run_dir, comm, job.display, total, iteration, games, job.log_every, logged,
        title=f"{config.environment.env}  {run_dir.name}",
        tracking=tracking_of(config), eval_every=job.eval_every,
    )  # fmt: skip
    if checkpoint is not None:
        logger.load_state_dict(state)
    return logger


def tracking_of(config: TrainConfig) -> Tracking:
    """Return what trackers are told of a run."""
    tracking = config.tracking
    return Tracking(
        tracking.trackers, tracking.track_project, tracking.track_entity, tracking.track_mode,
        tracking.track_histograms, flatten(config),
    )  # fmt: skip


def game_curves(config: TrainConfig) -> GameCurves | None:
    """Return the curves of each game; None where training and test are in one game each."""
    environment = config.environment
    names = {"train": names_of(environment.env)}
    if environment.num_test_envs:
        names["test"] = names_of(environment.test_env or environment.env)
    if max(map(len, names.values())) == 1:
        return None
    games = {split: [split_env_name(name)[1] for name in own] for split, own in names.items()}
    mode, changes = config.procgen.distribution_mode, config.variants
    return GameCurves(
        games, EPISODE_WINDOW, lambda game, mean: normalized_score(game, mode, changes, mean)
    )


def is_better(score: float, progress: Progress) -> bool:
    """Return whether a mean return beats that of the best checkpoint; never if it is not finite."""
    return math.isfinite(score) and score > (
        -math.inf if progress.best_return is None else progress.best_return
    )


def milestone_iterations(config: TrainConfig) -> dict[int, str]:
    """Return iteration -> tag of the checkpoints that stay, spread evenly over the job."""
    count, iterations = config.job.num_checkpoints, config.num_iterations
    return {-(-k * iterations // count): f"milestone-{k}" for k in range(1, count + 1)}


def save(
    snapshot: Snapshot,
    config: TrainConfig,
    comm: Communicator,
    logger: Logger,
    run_dir: Path,
    improved: bool,
) -> None:
    """Save everything that shapes the future; tag and prune. Collective; rank 0 writes.

    Args:
        snapshot: what to save; its parameters have been compared over the ranks.
        config: the run's settings, saved as well.
        comm: the job.
        logger: its episode window and clock are saved.
        run_dir: the run's folder.
        improved: whether this is the best policy so far.

    Raises:
        CheckpointError: it cannot be written; on every rank.
    """
    comm.heart.beat(SAVING)
    state = state_of(snapshot, config, comm)  # collective
    state["logger"] = logger.state_dict()
    logger.flush()
    progress = snapshot.progress
    milestone = milestone_iterations(config).get(progress.iteration)
    # In the checkpoint as well: a job that ends before they are set leaves that to the next one.
    tags = state["tags"] = ["best"] * improved + [milestone] * (milestone is not None)
    path = save_checkpoint(
        run_dir, progress.timesteps, snapshot.tensors, snapshot.states(), state, comm
    )  # collective

    def tag() -> None:
        run_folder.set_tags(run_dir, tags, path)
        run_folder.prune(run_dir, config.job.keep_checkpoints)

    on_root(comm, tag)  # collective
    logger.saved(path.name)
