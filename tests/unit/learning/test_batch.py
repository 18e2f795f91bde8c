"""What the epochs learn from: rewards as they are changed, bounds of targets, and who sees what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.advantages import gae, rewards_to_go, segment_ends
from ppo_mpi.learning.batch import bootstrap_bounds, learned_rewards, make_batch
from ppo_mpi.learning.normalizers import RewardNormalizer, RewardRange
from ppo_mpi.learning.rollout import Rollout
from ppo_mpi.settings.learning import LearningConfig

COMM = Communicator()
STEPS, ENVS = 12, 3


def make_rollout(seed: int = 0) -> Rollout:
    random = np.random.default_rng(seed)
    rewards, values, next_values = 3 * random.standard_normal((3, STEPS, ENVS)).astype(np.float32)
    rewards[2, 1] = 0.0
    ended = random.random((2, STEPS, ENVS)) < 0.1
    empty = torch.zeros(STEPS, ENVS)
    return Rollout(
        empty, empty, empty, torch.from_numpy(values), torch.from_numpy(next_values), rewards,
        ended[0], ended[1] & ~ended[0],
    )  # fmt: skip


def test_rewards_are_signed_then_normalized_then_bounded() -> None:
    rollout = make_rollout()
    plain = LearningConfig(normalize_rewards=False)
    assert learned_rewards(rollout, plain, None, COMM) is rollout.rewards
    before = rollout.rewards.copy()
    learning = LearningConfig(reward_sign=True, reward_bounds=(-0.5, 0.2))
    found = learned_rewards(rollout, learning, RewardNormalizer(ENVS, 0.9, 10.0), COMM)
    normalizer = RewardNormalizer(ENVS, 0.9, 10.0)
    ended = rollout.terminated | rollout.truncated
    normalized = normalizer(np.sign(rollout.rewards), ended, COMM)
    np.testing.assert_array_equal(found, np.clip(normalized, np.float32(-0.5), np.float32(0.2)))
    assert found.dtype == np.float32
    assert ((normalized < -0.5) | (normalized > 0.2)).any()
    np.testing.assert_array_equal(rollout.rewards, before)  # what is reported


def test_the_sign_of_a_reward_is_all_that_is_learned_from_where_asked_for() -> None:
    learning = LearningConfig(reward_sign=True)
    found = learned_rewards(make_rollout(), learning, None, COMM)
    assert set(np.unique(found)) == {-1.0, 0.0, 1.0}
    assert found.dtype == np.float32


def test_the_bounds_are_those_given_times_their_factor() -> None:
    rewards = make_rollout().rewards
    given = LearningConfig(value_target="reward_to_go", bootstrap_clip=(-10.0, 4.0))
    assert bootstrap_bounds(given, rewards, None, 1.0, COMM) == (-10.0, 4.0)
    assert bootstrap_bounds(given, rewards, None, 0.5, COMM) == (-5.0, 2.0)
    assert bootstrap_bounds(LearningConfig(), rewards, None, 1.0, COMM) is None


@pytest.mark.parametrize("given", [(), (-10.0, 4.0)])
def test_dynamic_bounds_are_the_rewards_seen_and_those_given_at_first(given) -> None:
    learning = LearningConfig(
        value_target="reward_to_go", bootstrap_clip=given, bootstrap_clip_dynamic=True
    )
    seen = RewardRange()
    one, two = make_rollout(1).rewards, make_rollout(2).rewards
    first = bootstrap_bounds(learning, one, seen, 1.0, COMM)
    assert first == (given or (float(one.min()), float(one.max())))
    both = np.concatenate([one, two])
    second = bootstrap_bounds(learning, two, seen, 2.0, COMM)
    assert second == (2 * float(both.min()), 2 * float(both.max()))


def test_a_batch_has_the_targets_that_were_asked_for() -> None:
    rollout = make_rollout(3)
    learning = LearningConfig(
        normalize_rewards=False, normalize_advantages="none", max_segment_steps=4,
        value_target="reward_to_go", bootstrap_clip=(-1.0, 1.0), discount=0.9, gae_lambda=0.8,
    )  # fmt: skip
    batch = make_batch(rollout, learning, None, COMM)
    terminated = torch.from_numpy(rollout.terminated)
    ends = segment_ends(terminated, torch.from_numpy(rollout.truncated), 4)
    rewards = torch.from_numpy(rollout.rewards)
    common = (rollout.next_values, terminated, ends, 0.9)
    assert torch.equal(batch.returns, rewards_to_go(rewards, *common, (-1.0, 1.0)))
    # Advantages know nothing of the bounds.
    expected, targets = gae(rewards, rollout.values, *common, 0.8)
    assert torch.equal(batch.advantages, expected)
    assert not torch.allclose(batch.returns, targets, atol=0.1)
