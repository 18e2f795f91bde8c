"""A2C's loss: its three terms summed over samples, in plain Python; its gradient by differences."""

from __future__ import annotations

import pytest
import torch
from minibatches import in_float32, in_float64, make_minibatch, make_model, outputs_of

from ppo_mpi.algorithms.a2c import A2C, a2c_gradients, a2c_loss
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.adam import Adam
from ppo_mpi.learning.algorithm import make_optimizer
from ppo_mpi.learning.losses import policy_gradient_loss
from ppo_mpi.learning.rmsprop import RMSprop
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.learning import LearningConfig

CONFIG = LearningConfig(algorithm="a2c", value_coef=0.7, entropy_coef=0.03, value_loss="squared")
A2C_VALUES = {"algorithm": "a2c", "num_epochs": 1, "num_minibatches": 1}


def loss_by_hand(model: ActorCritic, minibatch: Minibatch) -> dict[str, float]:
    """Return each metric but the KL summed over the samples, one sample after the other."""
    sums = dict.fromkeys(A2C.metrics[:4], 0.0)
    distribution, values = outputs_of(model, minibatch.obs)
    log_probs = distribution.log_prob(minibatch.actions).tolist()
    for i, entropy in enumerate(distribution.entropy().tolist()):
        policy = -minibatch.advantages[i].item() * log_probs[i]
        error = (minibatch.returns[i].item() - values[i].item()) ** 2
        sums["policy_loss"] += policy
        sums["value_loss"] += error
        sums["entropy"] += entropy
        sums["loss"] += policy + 0.7 * error - 0.03 * entropy
    return sums


@pytest.mark.parametrize("continuous", [False, True])
def test_the_loss_is_the_three_terms_summed_over_the_samples(continuous):
    model = in_float64(make_model(continuous))
    minibatch = make_minibatch(model, continuous)
    loss, sums = a2c_loss(model, minibatch, CONFIG, 0.2)
    expected = loss_by_hand(model, minibatch)
    found = dict(zip(A2C.metrics, sums.tolist(), strict=True))
    assert found.pop("approx_kl") > 0  # the minibatch's policy is another one
    assert found == pytest.approx(expected)
    assert loss.item() == pytest.approx(expected["loss"])
    assert not sums.requires_grad


@pytest.mark.parametrize("continuous", [False, True])
def test_the_gradient_is_the_slope_of_the_loss(continuous):
    model = in_float64(make_model(continuous))
    minibatch = make_minibatch(model, continuous)
    a2c_loss(model, minibatch, CONFIG, 0.2)[0].backward()
    for name, parameter in model.named_parameters():
        flat = parameter.data.view(-1)
        for i in range(0, len(flat), 3):
            there, ends = flat[i].item(), []
            for change in (1e-6, -1e-6):
                flat[i] = there + change
                ends.append(loss_by_hand(model, minibatch)["loss"])
            flat[i] = there
            assert parameter.grad is not None
            slope = (ends[0] - ends[1]) / 2e-6
            assert parameter.grad.view(-1)[i].item() == pytest.approx(slope, abs=1e-5), name


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("kind", ["half_squared", "squared", "huber"])
@pytest.mark.parametrize("entropy_coef", [None, 0.0, 0.5])
def test_the_gradient_by_hand_is_autograds(continuous, kind, entropy_coef):
    config = LearningConfig(value_coef=0.7, entropy_coef=0.03, value_loss=kind, huber_delta=0.5)
    minibatch = make_minibatch(in_float64(make_model(continuous)), continuous)
    model, minibatch = make_model(continuous).float(), Minibatch(*in_float32(minibatch))
    loss, sums = a2c_loss(model, minibatch, config, 0.1, entropy_coef)
    found, same_sums = a2c_gradients(model, minibatch, config, 0.1, entropy_coef)
    torch.testing.assert_close(same_sums, sums)
    expected = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    for gradient, other in zip(found, expected, strict=True):
        assert other is not None
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


def test_log_probs_and_advantages_must_have_one_shape():
    with pytest.raises(ValueError, match=r"must have one shape, got \(3,\), \(3, 1\)"):
        policy_gradient_loss(torch.zeros(3), torch.zeros(3, 1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Adam),
        ({"algorithm": "a2c"}, RMSprop),
        ({"algorithm": "a2c", "optimizer": "adam"}, Adam),
        ({"optimizer": "rmsprop"}, RMSprop),
    ],
)
def test_the_optimizer_is_the_algorithms_unless_another_is_named(values, expected):
    config = LearningConfig(**values, adam_epsilon=3e-3, rmsprop_epsilon=3e-3, rmsprop_alpha=0.7)
    optimizer = make_optimizer([("w", torch.nn.Parameter(torch.ones(2)))], config, ())
    assert type(optimizer) is expected
    assert isinstance(optimizer, Adam | RMSprop)
    assert optimizer.epsilon == 3e-3
    assert isinstance(optimizer, Adam) or optimizer.alpha == 0.7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_epochs": 4}, "num_epochs=4 and num_minibatches=1 with algorithm=a2c, which takes"),
        ({"num_minibatches": 2}, "use num_epochs=1 and num_minibatches=1, as the presets of a2c"),
        ({"rmsprop_alpha": 1.0}, "rmsprop_alpha=1.0 must be at least 0 and below 1"),
        ({"rmsprop_epsilon": 0.0}, "rmsprop_epsilon=0.0 must be greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with_values(TrainConfig(), A2C_VALUES).validate(1)
    with pytest.raises(ConfigError) as caught:
        with_values(TrainConfig(), A2C_VALUES | values).validate(1)
    assert message in str(caught.value)


def test_what_nothing_reads_is_said():
    assert with_values(TrainConfig(), A2C_VALUES).without_effect() == []
    values = {"target_kl": 0.1, "kl_stop_factor": 2.0, "clip_values": False, "adam_epsilon": 1e-4}
    assert with_values(TrainConfig(), A2C_VALUES | values).without_effect() == [
        "adam_epsilon=0.0001 without effect: read with optimizer=adam only",
        "clip_values=False, target_kl=0.1, kl_stop_factor=2.0 without effect: read with "
        "algorithm=ppo or ppg only",
    ]
    # Curiosity learns by Adam whatever the policy does.
    curious = {"adam_epsilon": 1e-4, "reward_model": "icm"}
    assert with_values(TrainConfig(), A2C_VALUES | curious).without_effect() == []
    assert with_values(TrainConfig(), {"rmsprop_alpha": 0.9}).without_effect() == [
        "rmsprop_alpha=0.9 without effect: read with optimizer=rmsprop only"
    ]
