"""Generalized advantage estimation against the paper's sum, and small cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_mpi.learning.advantages import gae, rewards_to_go, segment_ends

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


def segments_of(terminated: np.ndarray, truncated: np.ndarray, limit: int, b: int) -> list[range]:
    """Return the steps of each segment of one environment, by walking along it."""
    segments, first = [], 0
    for t in range(len(terminated)):
        is_cut = limit > 0 and t - first + 1 == limit
        if terminated[t, b] or truncated[t, b] or is_cut or t == len(terminated) - 1:
            segments.append(range(first, t + 1))
            first = t + 1
    return segments


@pytest.mark.parametrize("limit", [0, 1, 3, 8, 100])
def test_segments_end_with_episodes_and_after_so_many_steps(limit: int) -> None:
    _, _, _, terminated, truncated = random_rollout(seed=5)
    found = segment_ends(torch.from_numpy(terminated), torch.from_numpy(truncated), limit)
    found[-1] = True  # the rollout's own end is nobody's mark
    for b in range(ENVS):
        ends = [segment[-1] for segment in segments_of(terminated, truncated, limit, b)]
        assert torch.nonzero(found[:, b])[:, 0].tolist() == ends


@pytest.mark.parametrize("limit", [0, 3, 8])
@pytest.mark.parametrize("bounds", [None, (-0.3, 0.2), (0.1, 0.5)])
def test_rewards_to_go_are_each_segments_own_and_one_clipped_value(
    limit: int, bounds: tuple[float, float] | None
) -> None:
    rewards, _, next_values, terminated, truncated = random_rollout(seed=6)
    ends = segment_ends(torch.from_numpy(terminated), torch.from_numpy(truncated), limit)
    given = map(torch.from_numpy, (rewards, next_values, terminated))
    found = rewards_to_go(*given, ends, 0.9, bounds)
    was_clipped = False
    for b in range(ENVS):
        for segment in segments_of(terminated, truncated, limit, b):
            last = segment[-1]
            value = 0.0 if terminated[last, b] else float(next_values[last, b])
            if bounds and not terminated[last, b]:
                clipped = min(max(value, bounds[0]), bounds[1])
                was_clipped |= clipped != value
                value = clipped
            for t in segment:
                left = range(t, last + 1)
                expected = sum(0.9 ** (k - t) * float(rewards[k, b]) for k in left)
                expected += 0.9 ** len(left) * value
                assert found[t, b].item() == pytest.approx(expected, abs=1e-5)
    assert was_clipped == (bounds is not None)


@pytest.mark.parametrize("limit", [0, 4])
def test_gae_with_lambda_1_is_the_rewards_to_go_minus_the_values(limit: int) -> None:
    rewards, values, next_values, terminated, truncated = map(
        torch.from_numpy, random_rollout(seed=7)
    )
    ends = segment_ends(terminated, truncated, limit)
    advantages, returns = gae(rewards, values, next_values, terminated, ends, 0.9, 1.0)
    targets = rewards_to_go(rewards, next_values, terminated, ends, 0.9, None)
    torch.testing.assert_close(returns, targets, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(advantages, targets - values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("limit", [3, 8])
def test_gae_of_segments_is_the_papers_sum_over_each(limit: int) -> None:
    rewards, values, next_values, terminated, truncated = random_rollout(seed=8)
    ends = segment_ends(torch.from_numpy(terminated), torch.from_numpy(truncated), limit)
    rollout = [rewards, values, next_values, terminated]
    expected = np.array(advantage_by_the_sum(*rollout, ends.numpy(), 0.9, 0.8))
    advantages, _ = gae(*map(torch.from_numpy, rollout), ends, 0.9, 0.8)
    np.testing.assert_allclose(advantages.numpy(), expected, atol=2e-5)
    whole = np.array(advantage_by_the_sum(*rollout, truncated, 0.9, 0.8))
    assert not np.allclose(whole, expected, atol=1e-2)
