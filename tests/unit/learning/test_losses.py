"""The losses, term by term, against plain Python written from the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ppo_mpi.learning.losses import (
    approximate_kl,
    clipped_fraction,
    clipped_policy_loss,
    clipped_policy_slope,
    explained_variance,
    value_loss,
    value_slope,
)


def random_columns(count: int, scale: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 200, generator=generator) * scale


@pytest.mark.parametrize("clip_range", [0.2, 0.05, 0.0])
def test_the_policy_loss_is_equation_7(clip_range: float) -> None:
    log_probs, old_log_probs, advantages = random_columns(3, 0.3)
    losses = clipped_policy_loss(log_probs, old_log_probs, advantages, clip_range)
    for i in range(200):
        ratio = math.exp(log_probs[i].item() - old_log_probs[i].item())
        advantage = advantages[i].item()
        clipped = min(max(ratio, 1 - clip_range), 1 + clip_range)
        expected = -min(ratio * advantage, clipped * advantage)
        assert losses[i].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.5, 2.0, -2.4, 0.0),  # good action, already likelier: nothing more to gain
        (0.5, 2.0, -1.0, -1.0),  # good action, less likely: pulled back
        (0.5, -2.0, 1.6, 0.0),  # bad action, already less likely
        (1.5, -2.0, 3.0, 3.0),  # bad action, likelier: pushed back
    ],
)
def test_the_clip_by_hand(ratio: float, advantage: float, loss: float, slope: float) -> None:
    log_probs = torch.tensor([math.log(ratio)], requires_grad=True)
    result = clipped_policy_loss(log_probs, torch.zeros(1), torch.tensor([advantage]), 0.2)
    result.sum().backward()
    assert result.item() == pytest.approx(loss)
    assert log_probs.grad is not None
    assert log_probs.grad.item() == pytest.approx(slope)


def test_a_negative_clip_range_is_refused() -> None:
    one = torch.ones(1)
    with pytest.raises(ValueError, match="clip_range must not be negative, got -0.1"):
        clipped_policy_loss(one, one, one, -0.1)


def test_shapes_that_would_broadcast_are_refused() -> None:
    message = r"must have one shape, got \(3,\), \(3, 1\), \(3,\)"
    with pytest.raises(ValueError, match=message):
        clipped_policy_loss(torch.ones(3), torch.ones(3, 1), torch.ones(3), 0.2)


@pytest.mark.parametrize("clip_range", [0.2, None])
def test_the_value_loss_is_half_the_larger_squared_error(clip_range: float | None) -> None:
    values, old_values, returns = random_columns(3, 0.5, seed=1)
    losses = value_loss(values, old_values, returns, clip_range)
    for i in range(200):
        value, old, target = values[i].item(), old_values[i].item(), returns[i].item()
        expected = (value - target) ** 2
        if clip_range is not None:
            near = old + min(max(value - old, -clip_range), clip_range)
            expected = max(expected, (near - target) ** 2)
        assert losses[i].item() == pytest.approx(expected / 2, abs=1e-6)


def test_the_value_clip_stops_the_gradient_once_the_value_has_moved_enough() -> None:
    values = torch.tensor([1.0, 0.1], requires_grad=True)
    losses = value_loss(values, torch.zeros(2), torch.full((2,), 3.0), 0.2)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([2.8**2 / 2, 2.9**2 / 2])
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0.0, -2.9])


def test_the_kl_estimate_is_unbiased_and_never_negative() -> None:
    old = torch.log_softmax(torch.tensor([0.3, -1.0, 0.5, 0.0]), 0)
    new = torch.log_softmax(torch.tensor([0.0, -0.5, 1.0, 0.2]), 0)
    exact = float((old.exp() * (old - new)).sum())
    estimates = approximate_kl(new, old)
    assert (estimates >= 0).all()
    # The expectation over actions of the old policy, written out.
    assert float((old.exp() * estimates).sum()) == pytest.approx(exact, abs=1e-7)
    assert approximate_kl(old, old).tolist() == [0.0] * 4


def test_the_kl_estimate_of_a_tiny_change_is_not_lost_in_rounding() -> None:
    change = torch.tensor([1e-3])
    expected = math.expm1(1e-3) - 1e-3
    assert approximate_kl(change, torch.zeros(1)).item() == pytest.approx(expected, rel=2e-3)


def test_the_clipped_fraction_counts_ratios_outside() -> None:
    log_ratios = torch.tensor([0.7, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0]).log()
    assert clipped_fraction(log_ratios, torch.zeros(7), 0.2).tolist() == [1, 1, 0, 0, 0, 1, 1]


def sums_of(x: np.ndarray) -> tuple[float, float]:
    return float(x.sum()), float((x**2).sum())


def test_explained_variance_is_one_minus_the_ratio_of_variances() -> None:
    random = np.random.default_rng(0)
    returns = random.standard_normal(500) + 3
    values = returns + 0.5 * random.standard_normal(500)
    expected = 1 - np.var(returns - values) / np.var(returns)
    found = explained_variance(500, sums_of(returns - values), sums_of(returns))
    assert found == pytest.approx(expected, abs=1e-9)


def test_explained_variance_of_special_values() -> None:
    returns = np.array([1.0, 2.0, 3.0, 6.0])
    assert explained_variance(4, sums_of(returns * 0), sums_of(returns)) == 1.0
    assert explained_variance(4, sums_of(returns - 3), sums_of(returns)) == pytest.approx(0.0)
    assert explained_variance(4, sums_of(2 * returns), sums_of(returns)) == pytest.approx(-3.0)
    assert math.isnan(explained_variance(4, sums_of(returns), sums_of(np.full(4, 5.0))))


@pytest.mark.parametrize("clip_range", [0.2, 0.05, 0.0])
def test_the_policy_losss_slope_is_its_derivative(clip_range: float) -> None:
    log_probs, old_log_probs, advantages = random_columns(3, 0.3).double()
    ends = [
        clipped_policy_loss(log_probs + change, old_log_probs, advantages, clip_range)
        for change in (1e-6, -1e-6)
    ]
    found = clipped_policy_slope(log_probs, old_log_probs, advantages, clip_range)
    torch.testing.assert_close(found, (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("clip_range", [None, 0.2, 0.05])
def test_the_value_losss_slope_is_its_derivative(clip_range: float | None) -> None:
    values, old_values, returns = random_columns(3, 0.3).double()
    ends = [
        value_loss(values + change, old_values, returns, clip_range) for change in (1e-6, -1e-6)
    ]
    found = value_slope(values, old_values, returns, clip_range)
    torch.testing.assert_close(found, (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-6)


def error_by_hand(error: float, kind: str, delta: float) -> float:
    if kind == "squared":
        return error**2
    if kind == "half_squared" or abs(error) <= delta:
        return error**2 / 2
    return delta * (abs(error) - delta / 2)


@pytest.mark.parametrize("clip_range", [0.2, None])
@pytest.mark.parametrize("kind", ["half_squared", "squared", "huber"])
def test_each_kind_of_value_loss_is_its_formula(kind: str, clip_range: float | None) -> None:
    values, old_values, returns = random_columns(3, 0.5, seed=4)
    losses = value_loss(values, old_values, returns, clip_range, kind, 0.4)
    slopes = value_slope(values, old_values, returns, clip_range, kind, 0.4)
    kinds = set()
    for i in range(200):
        value, old, target = values[i].item(), old_values[i].item(), returns[i].item()
        expected = error_by_hand(value - target, kind, 0.4)
        if clip_range is not None:
            near = old + min(max(value - old, -clip_range), clip_range)
            expected = max(expected, error_by_hand(near - target, kind, 0.4))
        assert losses[i].item() == pytest.approx(expected, abs=1e-6)
        kinds.add(abs(value - target) > 0.4)
    assert kinds == {True, False}
    own = values.clone().requires_grad_()
    value_loss(own, old_values, returns, clip_range, kind, 0.4).sum().backward()
    torch.testing.assert_close(own.grad, slopes, rtol=1e-4, atol=1e-6)


def test_the_huber_loss_is_torchs_and_has_a_slope_where_nothing_is_wrong() -> None:
    values, returns = torch.tensor([0.0, 1.0, 30.0, -30.0]), torch.zeros(4)
    own = values.clone().requires_grad_()
    losses = value_loss(own, values, returns, None, "huber", 10.0)
    expected = torch.nn.functional.huber_loss(values, returns, reduction="none", delta=10.0)
    torch.testing.assert_close(losses.detach(), expected)
    losses.sum().backward()
    assert own.grad is not None
    assert own.grad.tolist() == [0.0, 1.0, 10.0, -10.0]


def test_an_unknown_value_loss_lists_the_known_ones() -> None:
    one = torch.ones(1)
    with pytest.raises(ValueError, match="unknown value loss 'cubic'; known: half_squared, squar"):
        value_loss(one, one, one, None, "cubic")
