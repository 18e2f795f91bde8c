"""What the epochs learn from: a rollout's rewards become advantages and value targets.

Axes: T steps; B environments on this rank.
"""

from __future__ import annotations

import numpy as np
import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.advantages import gae
from ppo_mpi.learning.normalizers import RewardNormalizer
from ppo_mpi.learning.rollout import Batch, Rollout
from ppo_mpi.settings.learning import LearningConfig


def make_batch(
    rollout: Rollout,
    learning: LearningConfig,
    reward_normalizer: RewardNormalizer | None,
    comm: Communicator,
    intrinsic: np.ndarray | None = None,
    extrinsic_weight: float = 1.0,
) -> Batch:
    """Turn a rollout into advantages and value targets. Collective.

    Args:
        rollout: this rank's.
        learning: the algorithm's numbers.
        reward_normalizer: changed in place; None leaves rewards as they are.
        comm: the job.
        intrinsic: [T, B] float32, a reward model's weighted rewards, which are added.
        extrinsic_weight: factor on the environment's rewards beside them.

    Returns:
        this rank's share, [T, B]; advantages are normalized over the job if the config says so.
    """
    rewards = rollout.rewards
    if reward_normalizer is not None:
        ended = rollout.terminated | rollout.truncated
        rewards = reward_normalizer(rewards, ended, comm)  # collective
    if intrinsic is not None:
        rewards = (extrinsic_weight * rewards + intrinsic).astype(np.float32)
    # Step by step on small numbers: nothing for a GPU, from which they come in one transfer.
    advantages, returns = gae(
        torch.from_numpy(rewards),
        rollout.values.cpu(),
        rollout.next_values.cpu(),
        torch.from_numpy(rollout.terminated),
        torch.from_numpy(rollout.truncated),
        learning.discount,
        learning.gae_lambda,
    )
    if learning.normalize_advantages == "rollout":
        mean, deviation = comm.moments(advantages.reshape(-1, 1))  # collective
        advantages = (advantages - mean) / (deviation + 1e-8)
    device = rollout.values.device
    return Batch(rollout, advantages.to(device), returns.to(device))
