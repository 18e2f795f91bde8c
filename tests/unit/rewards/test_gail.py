"""Adversarial imitation: reward forms, the gradient penalty, and what a discriminator learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from spaces import random_actions
from torch import Tensor

from ppo_mpi.envs.base import ActionSpec, Box, Discrete, MultiBinary, MultiDiscrete, ObservationSpec
from ppo_mpi.envs.spaces import Composite, ObservationPart
from ppo_mpi.errors import ConfigError
from ppo_mpi.rewards.gail import Gail, Pairs, imitation_rewards
from ppo_mpi.settings.imitation import ImitationConfig
from ppo_mpi.settings.rewards import RewardsConfig

VECTOR = ObservationSpec((3,), "float32")
IMAGE = ObservationSpec((36, 40, 3), "uint8")
SMALL = ObservationSpec((8, 8, 3), "uint8")
PACKED = ObservationSpec.packed(
    [ObservationPart("a", (8, 8, 3), "uint8"), ObservationPart("b", (3,), "float32")]
)
BOX = Box((-1.0, -2.0), (1.0, 2.0))
ACTIONS = (Discrete(4), MultiDiscrete((2, 3)), MultiBinary(3), BOX, Composite((Discrete(3), BOX)))
REWARDS = RewardsConfig(reward_feature_size=8, encoder_hidden_sizes=(8,))


def make_gail(
    obs_spec: ObservationSpec = VECTOR, action_spec: ActionSpec = Discrete(4), **values: object
) -> Gail:
    torch.manual_seed(1)
    config = replace(ImitationConfig(discriminator_hidden_sizes=(7, 6)), **values)  # type: ignore[arg-type]
    model = Gail(obs_spec, action_spec, REWARDS, config)
    with torch.no_grad():  # biases are zeros at first, and would hide their absence
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_obs(spec: ObservationSpec, num: int, random: np.random.Generator) -> Tensor:
    if spec.parts:
        pack = [spec.pack([random.integers(0, 256, (8, 8, 3)), random.normal(size=3)])
                for _ in range(num)]  # fmt: skip
        return torch.from_numpy(np.stack(pack))
    if spec.is_image:
        return torch.from_numpy(random.integers(0, 256, (num, *spec.shape)).astype(np.uint8))
    return torch.from_numpy(random.normal(size=(num, *spec.shape)).astype(np.float32))


def make_pairs(obs_spec: ObservationSpec, action_spec: ActionSpec, num: int = 5) -> Pairs:
    random = np.random.default_rng(3)
    obs, expert = make_obs(obs_spec, num, random), make_obs(obs_spec, num, random)
    actions = [torch.from_numpy(random_actions(action_spec, random, num)) for _ in range(2)]
    mix = torch.from_numpy(random.random(num).astype(np.float32))
    return Pairs(obs, actions[0], obs, expert, actions[1], mix)


def test_reward_forms_at_known_logits():
    logits = torch.tensor([0.0, math.log(3), -math.log(3)])  # D = 1/2, 3/4, 1/4
    expected = {
        "logit": [0.0, math.log(3), -math.log(3)],
        "positive": [math.log(2), math.log(4), math.log(4 / 3)],
        "negative": [-math.log(2), -math.log(4 / 3), -math.log(4)],
    }
    for form, rewards in expected.items():
        assert imitation_rewards(logits, form).tolist() == pytest.approx(rewards)
    both = imitation_rewards(logits, "positive") + imitation_rewards(logits, "negative")
    torch.testing.assert_close(both, imitation_rewards(logits, "logit"))
    far = torch.tensor([-1e4, 1e4])
    assert all(imitation_rewards(far, form).isfinite().all() for form in expected)


def slow_loss(model: Gail, pairs: Pairs, i: int) -> tuple[float, float]:
    """Return the classification loss and the penalty of one pair, in numpy and float64.

    The penalty's gradient is a central difference by each number of the input.
    """
    layers = [*model.discriminator.hidden.linears, model.discriminator.head]
    weights = [(x.weight.detach().double().numpy(), x.bias.detach().double().numpy())
               for x in layers]  # fmt: skip

    def logit(x: np.ndarray) -> float:
        for weight, bias in weights[:-1]:
            x = np.tanh(weight @ x + bias)
        return float((weights[-1][0] @ x + weights[-1][1])[0])

    def features(obs: Tensor, action: Tensor) -> np.ndarray:
        return np.concatenate([obs.double().numpy(), np.eye(4)[int(action)]])

    expert = features(pairs.expert_obs[i], pairs.expert_actions[i])
    policy = features(pairs.obs[i], pairs.actions[i])
    share = float(pairs.mix[i])
    between = share * expert + (1 - share) * policy
    slopes = []
    for k in range(len(between)):
        step = np.eye(len(between))[k] * 1e-5
        slopes.append((logit(between + step) - logit(between - step)) / 2e-5)
    chances = [1 / (1 + math.exp(-logit(x))) for x in (expert, policy)]
    loss = -math.log(chances[0]) - math.log(1 - chances[1])
    return loss, (math.sqrt(sum(s * s for s in slopes)) - model.target) ** 2


def test_loss_and_penalty_are_those_of_the_papers():
    model = make_gail(gradient_penalty=3.0, gradient_penalty_target=0.4)
    pairs = make_pairs(VECTOR, Discrete(4))
    loss, metrics = model.loss(pairs)
    slow = np.array([slow_loss(model, pairs, i) for i in range(5)]).sum(0)
    assert float(metrics[1]) == pytest.approx(slow[1], rel=1e-4)
    assert float(loss.detach()) == pytest.approx(slow[0] + 3 * slow[1], rel=1e-4)
    logits = model.logits(pairs)
    assert float(metrics[3]) == (logits < 0).sum()
    unpunished, metrics = make_gail(gradient_penalty=0.0).loss(pairs)
    assert float(unpunished.detach()) == pytest.approx(slow[0], rel=1e-4)
    assert float(metrics[1]) == 0


def test_the_penaltys_gradient_is_that_of_differences():
    model = make_gail(gradient_penalty=2.0).double()
    pairs = make_pairs(VECTOR, Discrete(4))
    doubled = replace(pairs, obs=pairs.obs.double(), expert_obs=pairs.expert_obs.double(),
                      mix=pairs.mix.double())  # fmt: skip
    weight = model.discriminator.hidden.linears[0].weight
    (gradient,) = torch.autograd.grad(model.loss(doubled)[0], weight)
    for place in ((0, 0), (2, 1), (5, 6)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[place] += step
            values.append(float(model.loss(doubled)[0].detach()))
            with torch.no_grad():
                weight[place] -= step
        assert float(gradient[place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


@pytest.mark.parametrize("action_spec", ACTIONS, ids=lambda spec: type(spec).__name__)
@pytest.mark.parametrize("obs_spec", [VECTOR, IMAGE, SMALL, PACKED], ids=["v", "i", "s", "p"])
def test_every_space_has_rewards_and_gradients(obs_spec: ObservationSpec, action_spec: ActionSpec):
    model, pairs = make_gail(obs_spec, action_spec), make_pairs(obs_spec, action_spec)
    assert model.rewards(pairs).shape == (5,)
    loss, metrics = model.loss(pairs)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert metrics.shape == (len(model.metrics),)
    # The penalty moves no bias of the last layer; the classification does.
    assert all(bool(own.any()) and bool(own.isfinite().all()) for own in gradients)
    alone = [make_gail(obs_spec, action_spec).loss(one_of(pairs, i))[0] for i in range(5)]
    torch.testing.assert_close(torch.stack(alone).sum(), loss, rtol=1e-4, atol=1e-4)


def one_of(pairs: Pairs, i: int) -> Pairs:
    return Pairs(*(getattr(pairs, name)[i : i + 1] for name in pairs.__dataclass_fields__))


def test_a_discriminator_tells_two_distributions_apart_and_not_one_from_itself():
    random = torch.Generator().manual_seed(0)
    for shift, low, high in ((2.0, 0.85, 1.0), (0.0, 0.35, 0.65)):
        model = make_gail()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(300):
            obs, expert = torch.randn(2, 64, 3, generator=random)
            actions, theirs = torch.randint(0, 4, (2, 64), generator=random)
            mix = torch.rand(64, generator=random)
            pairs = Pairs(obs, actions, obs, expert + shift, theirs, mix)
            optimizer.zero_grad()
            loss, metrics = model.loss(pairs)
            (loss / 64).backward()
            optimizer.step()
        accuracy = metrics[2:] / 64
        assert (low <= accuracy).all()
        assert (accuracy <= high).all()


def test_an_encoder_without_second_derivatives_is_refused():
    config = replace(REWARDS, reward_network="impala")
    with pytest.raises(ConfigError, match="reward_network=impala has no second derivatives"):
        Gail(IMAGE, Discrete(2), config, ImitationConfig())
