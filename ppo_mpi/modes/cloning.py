"""What a run that learns from an expert does before its first iteration."""

from __future__ import annotations

import math

from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.cloning import Cloned, clone
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.storage.logger import Logger

MOST_TOLD = 10
"""Epochs of cloning that are reported, the last one among them."""


def begin_imitation(run: Run, config: TrainConfig, logger: Logger, comm: Communicator) -> None:
    """Say whom the run imitates, and let a new one clone the expert if it asks for it. Collective.

    A run that ends before its first iteration is over has saved nothing, and clones anew, to the
    same bits. So a checkpoint means that cloning is done.

    Args:
        run: its policy is changed in place.
        config: the settings.
        logger: shows messages on rank 0.
        comm: the job.
    """
    if run.expert is None:
        return
    imitation, rewards = config.imitation, config.rewards
    if comm.is_root:
        logger.message(f"expert: {run.expert.summary}")
        if rewards.reward_model == "gail" and rewards.extrinsic_weight:
            logger.message(
                f"the environment's reward is learned from as well (extrinsic_weight="
                f"{rewards.extrinsic_weight:g}); use extrinsic_weight=0 for imitation alone"
            )
    normalizer = run.observation_normalizer
    clones = imitation.cloning_epochs and run.progress.iteration == 0
    moved = moved_statistics(normalizer, len(run.expert), config.learning.rollout_timesteps)
    if clones and moved and comm.is_root:
        logger.message(moved, is_warning=True)
    every = math.ceil(imitation.cloning_epochs / MOST_TOLD)

    def tell(cloned: Cloned) -> None:
        is_last = cloned.epoch == imitation.cloning_epochs
        if not comm.is_root or (cloned.epoch % every and not is_last):
            return
        held = "" if math.isnan(cloned.held_out) else f", held out {cloned.held_out:.4f}"
        logger.message(
            f"cloning: epoch {cloned.epoch} of {imitation.cloning_epochs}, -log likelihood "
            f"{cloned.loss:.4f} nats{held}"
        )

    if clones:
        clone(run.learner, run.expert, imitation, normalizer, tell, comm)  # collective


def moved_statistics(
    normalizer: ObservationNormalizer | None, expert_steps: int, rollout_timesteps: int
) -> str:
    """Return a warning where the first rollout weighs more than what was cloned; else nothing.

    The statistics that normalize observations begin with the expert's, each step counted once, so
    that the first rollout may move them far, and with them what the cloned policy sees. They are
    not weighed otherwise: a policy that leaves the expert's states needs those of its own.
    """
    if normalizer is None or normalizer.only_clips or expert_steps >= rollout_timesteps:
        return ""
    return (
        f"warning: normalize_observations=true, and the expert's {expert_steps:,} steps weigh less "
        f"than the first rollout's {rollout_timesteps:,}, which moves what the cloned policy sees; "
        "clone more steps, use a smaller rollout_timesteps, or normalize_observations=false"
    )
