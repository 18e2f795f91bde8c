"""What the epochs learn from: the environment's rewards and those of a reward model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.batch import make_batch
from ppo_mpi.learning.normalizers import RewardNormalizer
from ppo_mpi.learning.rollout import Rollout
from ppo_mpi.settings.learning import LearningConfig

COMM = Communicator()
STEPS, ENVS = 6, 2
# With lambda 1, no values and no discount, a return is the sum of what is left.
LEARNING = LearningConfig(discount=1.0, gae_lambda=1.0, normalize_advantages="none")


def make_rollout() -> Rollout:
    rewards = np.random.default_rng(0).normal(size=(STEPS, ENVS)).astype(np.float32)
    zeros, never = torch.zeros(STEPS, ENVS), np.zeros((STEPS, ENVS), bool)
    return Rollout(zeros, zeros, zeros, zeros, zeros, rewards, never, never)


def sums_to_come(rewards: np.ndarray) -> np.ndarray:
    return rewards[::-1].cumsum(0)[::-1]


@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_weighted_rewards_of_a_model_are_added_to_those_of_the_environment(weight: float):
    rollout = make_rollout()
    intrinsic = np.arange(STEPS * ENVS, dtype=np.float32).reshape(STEPS, ENVS)
    batch = make_batch(rollout, LEARNING, None, COMM, intrinsic, weight)
    expected = sums_to_come(weight * rollout.rewards + intrinsic)
    np.testing.assert_allclose(batch.returns, expected, rtol=1e-5, atol=1e-5)
    assert batch.returns.dtype == torch.float32


def test_only_the_environment_s_rewards_are_normalized():
    rollout = make_rollout()
    intrinsic = np.full((STEPS, ENVS), 100.0, np.float32)
    batch = make_batch(rollout, LEARNING, RewardNormalizer(ENVS, 0.99, 10.0), COMM, intrinsic, 2.0)
    normalized = RewardNormalizer(ENVS, 0.99, 10.0)(rollout.rewards, rollout.truncated, COMM)
    np.testing.assert_allclose(batch.returns, sums_to_come(2 * normalized + 100), rtol=1e-5)


def test_without_a_model_the_weight_has_no_meaning():
    rollout = make_rollout()
    one, other = (make_batch(rollout, LEARNING, None, COMM, None, w).returns for w in (1.0, 0.5))
    assert torch.equal(one, other)
