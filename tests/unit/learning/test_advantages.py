"""Generalized advantage estimation against the paper's sum, and small cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_mpi.learning.advantages import gae

STEPS, ENVS = 23, 7


def advantage_by_the_sum(
    rewards: np.ndarray,
    values: np.ndarray,
    next_values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    discount: float,
    gae_lambda: float,
) -> list[list[float]]:
    """Return sum_l (discount * lambda)^l delta[t + l] (eq. 16), to the end of t's episode."""
    advantages = [[0.0] * rewards.shape[1] for _ in rewards]
    for t in range(len(rewards)):
        for b in range(rewards.shape[1]):
            total, weight = 0.0, 1.0
            for k in range(t, len(rewards)):
                future = 0.0 if terminated[k, b] else float(next_values[k, b])
                delta = float(rewards[k, b]) + discount * future - float(values[k, b])
                total += weight * delta
                weight *= discount * gae_lambda
                if terminated[k, b] or truncated[k, b]:
                    break
            advantages[t][b] = total
    return advantages


def random_rollout(seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    rewards, values, next_values = random.standard_normal((3, STEPS, ENVS)).astype(np.float32)
    ended = random.random((STEPS, ENVS)) < 0.2
    is_truncation = random.random((STEPS, ENVS)) < 0.5
    # Within an episode the next value is the value of the next step, as the collector has it.
    goes_on = ~ended[:-1]
    next_values[:-1][goes_on] = values[1:][goes_on]
    return [rewards, values, next_values, ended & ~is_truncation, ended & is_truncation]


@pytest.mark.parametrize(
    ("discount", "gae_lambda"), [(0.99, 0.95), (0.9, 1.0), (1.0, 1.0), (0.999, 0.0), (0.0, 0.5)]
)
def test_gae_is_the_papers_sum_over_each_episode(discount: float, gae_lambda: float) -> None:
    rollout = random_rollout(seed=1)
    expected = np.array(advantage_by_the_sum(*rollout, discount, gae_lambda))
    advantages, returns = gae(*map(torch.from_numpy, rollout), discount, gae_lambda)
    np.testing.assert_allclose(advantages.numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(returns.numpy(), expected + rollout[1], atol=2e-5)
    assert advantages.dtype == returns.dtype == torch.float32


def test_with_lambda_1_the_targets_are_discounted_returns() -> None:
    rewards, values, next_values, terminated, truncated = random_rollout(seed=2)
    _, returns = gae(
        *map(torch.from_numpy, (rewards, values, next_values, terminated, truncated)), 0.9, 1.0
    )
    for b in range(ENVS):
        following = float(next_values[-1, b])
        for t in reversed(range(STEPS)):
            if terminated[t, b]:
                following = 0.0
            elif truncated[t, b]:
                following = float(next_values[t, b])
            following = float(rewards[t, b]) + 0.9 * following
            assert returns[t, b].item() == pytest.approx(following, abs=1e-5)


def test_truncation_bootstraps_and_termination_does_not() -> None:
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    yes, no = one.bool(), zero.bool()
    cut, _ = gae(one, zero, 10 * one, no, yes, discount=0.5, gae_lambda=1.0)
    ended, _ = gae(one, zero, 10 * one, yes, no, discount=0.5, gae_lambda=1.0)
    assert cut.item() == 6.0  # 1 + 0.5 * 10
    assert ended.item() == 1.0


def test_three_steps_by_hand() -> None:
    column = torch.tensor([[1.0], [2.0], [4.0]])
    no = torch.zeros(3, 1, dtype=torch.bool)
    values = torch.tensor([[8.0], [4.0], [2.0]])
    next_values = torch.tensor([[4.0], [2.0], [16.0]])
    advantages, returns = gae(column, values, next_values, no, no, 0.5, 0.5)
    # deltas -5, -1, 10; A2 = 10, A1 = -1 + 10 / 4, A0 = -5 + 1.5 / 4
    assert advantages.flatten().tolist() == [-4.625, 1.5, 10.0]
    assert returns.flatten().tolist() == [3.375, 5.5, 12.0]


def test_nothing_leaks_from_one_episode_into_the_one_before() -> None:
    rollout = list(map(torch.from_numpy, random_rollout(seed=3)))
    rollout[3][10], rollout[4][10] = True, False
    before, _ = gae(*rollout, 0.99, 0.95)
    rollout[0][11:] += 100.0
    after, _ = gae(*rollout, 0.99, 0.95)
    assert torch.equal(before[:11], after[:11])
    assert not torch.equal(before[11:], after[11:])


def test_what_follows_a_terminated_step_is_not_read() -> None:
    rollout = list(map(torch.from_numpy, random_rollout(seed=4)))
    clean, _ = gae(*rollout, 0.99, 0.95)
    rollout[2][rollout[3]] = float("nan")
    assert torch.equal(clean, gae(*rollout, 0.99, 0.95)[0])
