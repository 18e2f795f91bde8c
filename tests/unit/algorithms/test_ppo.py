"""PPO's loss: equation 9 summed over samples, in plain Python; its gradient by differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from minibatches import COUNT, in_float32, in_float64, make_minibatch, make_model, outputs_of

from ppo_mpi.algorithms.ppo import PPO, ppo_gradients, ppo_loss
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.learning import LearningConfig

CONFIG = LearningConfig(value_coef=0.7, entropy_coef=0.03, clip_values=True)


def loss_by_hand(model: ActorCritic, minibatch: Minibatch, clip: float) -> dict[str, float]:
    """Return each metric summed over the samples, one sample after the other."""
    sums = dict.fromkeys(PPO.metrics, 0.0)
    distribution, values = outputs_of(model, minibatch.obs)
    log_probs = distribution.log_prob(minibatch.actions).tolist()
    entropies = distribution.entropy().tolist()
    for i in range(COUNT):
        ratio = math.exp(log_probs[i] - minibatch.old_log_probs[i].item())
        advantage = minibatch.advantages[i].item()
        policy = -min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage)
        value, old = values[i].item(), minibatch.old_values[i].item()
        target = minibatch.returns[i].item()
        near = old + min(max(value - old, -clip), clip)
        error = 0.5 * max((value - target) ** 2, (near - target) ** 2)
        sums["policy_loss"] += policy
        sums["value_loss"] += error
        sums["entropy"] += entropies[i]
        sums["loss"] += policy + 0.7 * error - 0.03 * entropies[i]
        sums["approx_kl"] += ratio - 1 - math.log(ratio)
        sums["clip_fraction"] += abs(ratio - 1) > clip
    return sums


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("clip_range", [0.2, 0.05])
def test_the_loss_is_equation_9_summed_over_the_samples(continuous, clip_range):
    model = in_float64(make_model(continuous))
    minibatch = make_minibatch(model, continuous)
    loss, sums = ppo_loss(model, minibatch, CONFIG, clip_range)
    expected = loss_by_hand(model, minibatch, clip_range)
    assert dict(zip(PPO.metrics, sums.tolist(), strict=True)) == pytest.approx(expected)
    assert loss.item() == pytest.approx(expected["loss"])
    assert not sums.requires_grad
    assert 0 < expected["clip_fraction"] < COUNT


@pytest.mark.parametrize("continuous", [False, True])
def test_the_gradient_is_the_slope_of_the_loss(continuous):
    model = in_float64(make_model(continuous))
    minibatch = make_minibatch(model, continuous)
    loss, _ = ppo_loss(model, minibatch, CONFIG, 0.2)
    loss.backward()
    for name, parameter in model.named_parameters():
        flat = parameter.data.view(-1)
        for i in range(0, len(flat), 3):
            there = flat[i].item()
            ends = []
            for change in (1e-6, -1e-6):
                flat[i] = there + change
                ends.append(loss_by_hand(model, minibatch, 0.2)["loss"])
            flat[i] = there
            assert parameter.grad is not None
            slope = (ends[0] - ends[1]) / 2e-6
            assert parameter.grad.view(-1)[i].item() == pytest.approx(slope, abs=1e-5), name


def test_values_are_not_clipped_where_that_is_switched_off():
    model = in_float64(make_model(continuous=False))
    minibatch = make_minibatch(model, continuous=False)
    plain = LearningConfig(value_coef=0.7, entropy_coef=0.03, clip_values=False)
    _, sums = ppo_loss(model, minibatch, plain, 0.01)
    _, values = outputs_of(model, minibatch.obs)
    expected = ((values - minibatch.returns) ** 2).sum().item() / 2
    assert sums[PPO.metrics.index("value_loss")].item() == pytest.approx(expected)


def test_the_loss_of_a_minibatch_is_the_sum_over_its_parts():
    model = make_model(continuous=False).float()
    minibatch = make_minibatch(in_float64(make_model(continuous=False)), continuous=False)
    fields = in_float32(minibatch)
    whole, _ = ppo_loss(model, Minibatch(*fields), CONFIG, 0.2)
    parts = [ppo_loss(model, Minibatch(*(x[s] for x in fields)), CONFIG, 0.2)[0]
             for s in (slice(0, 5), slice(5, COUNT))]  # fmt: skip
    assert whole.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-5)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("clip_values", [False, True])
@pytest.mark.parametrize("entropy_coef", [0.0, 0.03])
@pytest.mark.parametrize("kind", ["half_squared", "squared", "huber"])
def test_the_gradient_by_hand_is_autograds(continuous, clip_values, entropy_coef, kind):
    config = LearningConfig(
        value_coef=0.7, entropy_coef=entropy_coef, clip_values=clip_values, value_loss=kind,
        huber_delta=0.5,
    )  # fmt: skip
    minibatch = make_minibatch(in_float64(make_model(continuous)), continuous)
    fields = in_float32(minibatch)
    model, minibatch = make_model(continuous).float(), Minibatch(*fields)
    loss, sums = ppo_loss(model, minibatch, config, 0.1)
    assert 0 < sums[PPO.metrics.index("clip_fraction")] < COUNT
    found, same_sums = ppo_gradients(model, minibatch, config, 0.1)
    torch.testing.assert_close(same_sums, sums)
    expected = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    for gradient, other in zip(found, expected, strict=True):
        assert other is not None
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("continuous", [False, True])
def test_the_entropy_bonus_is_the_one_that_is_given(continuous):
    minibatch = make_minibatch(in_float64(make_model(continuous)), continuous)
    fields = in_float32(minibatch)
    model, minibatch = make_model(continuous).float(), Minibatch(*fields)
    other = replace(CONFIG, entropy_coef=0.5)
    expected, sums = ppo_loss(model, minibatch, other, 0.1)
    for coefficient in (0.5, torch.tensor(0.5)):
        loss, same_sums = ppo_loss(model, minibatch, CONFIG, 0.1, coefficient)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(same_sums, sums)
    assert ppo_loss(model, minibatch, CONFIG, 0.1)[0].item() != pytest.approx(loss.item())
    found, same_sums = ppo_gradients(model, minibatch, CONFIG, 0.1, 0.5)
    torch.testing.assert_close(same_sums, sums)
    for gradient, by_config in zip(
        found, ppo_gradients(model, minibatch, other, 0.1)[0], strict=True
    ):
        assert torch.equal(gradient, by_config)
