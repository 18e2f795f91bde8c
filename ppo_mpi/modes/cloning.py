"""What a run that learns from an expert does before its first iteration."""

from __future__ import annotations

import math

from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.cloning import Cloned, clone
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

    if imitation.cloning_epochs and run.progress.iteration == 0:
        normalizer = run.observation_normalizer
        clone(run.learner, run.expert, imitation, normalizer, tell, comm)  # collective
