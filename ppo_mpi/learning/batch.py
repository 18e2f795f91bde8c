"""What the epochs learn from: a rollout's rewards become advantages and value targets.

Axes: T steps; B environments on this rank.
"""

from __future__ import annotations

import numpy as np
import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.advantages import gae, rewards_to_go, segment_ends
from ppo_mpi.learning.normalizers import RewardNormalizer, RewardRange
from ppo_mpi.learning.rollout import Batch, Rollout
from ppo_mpi.settings.learning import LearningConfig


def make_batch(
    rollout: Rollout,
    learning: LearningConfig,
    reward_normalizer: RewardNormalizer | None,
    comm: Communicator,
    intrinsic: np.ndarray | None = None,
    extrinsic_weight: float = 1.0,
    *,
    rewards_seen: RewardRange | None = None,
    bootstrap_factor: float = 1.0,
    bonus_coef: float = 0.0,
) -> Batch:
    """Turn a rollout into advantages and value targets. Collective.

    Args:
        rollout: this rank's.
        learning: the algorithm's numbers.
        reward_normalizer: changed in place; None leaves rewards as they are.
        comm: the job.
        intrinsic: [T, B] float32, a reward model's weighted rewards, which are added.
        extrinsic_weight: factor on the environment's rewards beside them.
        rewards_seen: changed in place; there if the bootstrap clip is dynamic.
        bootstrap_factor: by which both ends of the bootstrap clip are multiplied now.
        bonus_coef: weight of bonus rewards in what is learned from.

    Returns:
        this rank's share, [T, B]; advantages are normalized over the job if the config says so.
    """
    rewards = learned_rewards(rollout, learning, reward_normalizer, comm, bonus_coef)  # collective
    if intrinsic is not None:
        rewards = (extrinsic_weight * rewards + intrinsic).astype(np.float32)
    bounds = bootstrap_bounds(learning, rewards, rewards_seen, bootstrap_factor, comm)  # collective
    # Step by step on small numbers: nothing for a GPU, from which they come in one transfer.
    given, next_values = torch.from_numpy(rewards), rollout.next_values.cpu()
    terminated = torch.from_numpy(rollout.terminated)
    ends = segment_ends(terminated, torch.from_numpy(rollout.truncated), learning.max_segment_steps)
    advantages, returns = gae(
        given,
        rollout.values.cpu(),
        next_values,
        terminated,
        ends,
        learning.discount,
        learning.gae_lambda,
    )
    if learning.value_target == "reward_to_go":
        returns = rewards_to_go(given, next_values, terminated, ends, learning.discount, bounds)
    if learning.normalize_advantages == "rollout":
        mean, deviation = comm.moments(advantages.reshape(-1, 1))  # collective
        advantages = (advantages - mean) / (deviation + 1e-8)
    device = rollout.values.device
    return Batch(rollout, advantages.to(device), returns.to(device), bounds)


def learned_rewards(
    rollout: Rollout,
    learning: LearningConfig,
    reward_normalizer: RewardNormalizer | None,
    comm: Communicator,
    bonus_coef: float = 0.0,
) -> np.ndarray:
    """Return the rewards that are learned from, [T, B] float32. Collective.

    In this order: their sign, with weighted bonus rewards added, divided by the running deviation
    of returns, within bounds. What is reported is none of it: episodes sum up rewards as they were.

    Args:
        rollout: this rank's.
        learning: says which of it.
        reward_normalizer: changed in place; None leaves rewards as they are.
        comm: the job.
        bonus_coef: weight of bonus rewards.
    """
    rewards = np.sign(rollout.rewards) if learning.reward_sign else rollout.rewards
    if rollout.bonus is not None and bonus_coef:
        rewards = (rewards + bonus_coef * rollout.bonus).astype(np.float32)
    if reward_normalizer is not None:
        ended = rollout.terminated | rollout.truncated
        rewards = reward_normalizer(rewards, ended, comm)  # collective
    if learning.reward_bounds:
        low, high = learning.reward_bounds
        rewards = np.clip(rewards, low, high).astype(np.float32)
    return rewards


def bootstrap_bounds(
    learning: LearningConfig,
    rewards: np.ndarray,
    rewards_seen: RewardRange | None,
    factor: float,
    comm: Communicator,
) -> tuple[float, float] | None:
    """Return the lowest and the highest value that targets bootstrap with. Collective.

    Args:
        learning: says which.
        rewards: [T, B] float32, those that are learned from.
        rewards_seen: there if the bounds are dynamic; takes the rewards in.
        factor: of both ends.
        comm: the job.

    Source:
        bootstrap_clip and dynamic_bs_clip of "PPO And Friends" as documented there: given bounds
        at first, then the smallest and the largest reward seen by all ranks. Its code takes the
        last segment of one rank.
    """
    ends: tuple[float, ...] = learning.bootstrap_clip
    if rewards_seen is not None:
        is_first = not rewards_seen.seen
        rewards_seen.see(rewards, comm)  # collective
        if not (is_first and ends):
            ends = (rewards_seen.low, rewards_seen.high)
    return (factor * ends[0], factor * ends[1]) if ends else None
