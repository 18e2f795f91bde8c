"""The sampled Fisher loss and its terms, against passes of one sample each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.envs.base import Box, Discrete, ObservationSpec
from ppo_mpi.envs.spaces import Composite, MultiBinary, MultiDiscrete
from ppo_mpi.learning.fisher import Watch, fisher_loss, fisher_noise
from ppo_mpi.learning.kronecker import layers_of
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

BOX = Box((-1.0, -2.0), (1.0, 2.0))


def make_model(spec: ObservationSpec, actions: object, **config: object) -> ActorCritic:
    torch.manual_seed(4)
    return ActorCritic(spec, actions, NetworkConfig(**config), torch.float32)  # type: ignore[arg-type]


def terms_of(model: ActorCritic, obs: Tensor, seed: int = 0) -> list[Tensor]:
    noise, values = fisher_noise(seed, range(len(obs)), 1, model.action_spec, 0, 0)
    watch = Watch(layers_of(model, ("log_std",)))
    with watch.on():
        return watch.terms(model, obs, noise, values, 1.0)


@pytest.mark.parametrize(
    "spec", [Discrete(3), BOX, MultiDiscrete((2, 3)), MultiBinary(2),
             Composite((Discrete(2), BOX))],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "sharing",
    [{"shared_torso": True}, {"shared_torso": False}, {"shared_torso": False, "shared_layers": 1},
     {"shared_torso": False, "shared_layers": -1}],
    ids=str,
)  # fmt: skip
def test_terms_are_sums_of_those_of_single_samples(spec: object, sharing: dict[str, object]):
    model = make_model(ObservationSpec((5,), "float32"), spec, hidden_sizes=(6, 4), **sharing)
    obs = torch.randn(7, 5)
    noise, values = fisher_noise(0, range(7), 1, model.action_spec, 0, 0)
    layers = layers_of(model, ("log_std",))
    expected = [torch.zeros(size, size) for layer in layers for size in layer.sizes]
    for n in range(7):
        loss = fisher_loss(model, obs[n : n + 1], noise[n : n + 1], values[n : n + 1], 1.0)
        for i, layer in enumerate(layers):
            # Of one sample, the gradient is g a^T, and that of the bias is g.
            weight, bias = torch.autograd.grad(loss, layer.parameters, retain_graph=True)
            expected[2 * i + 1] += torch.outer(bias, bias)
            inputs = (bias @ weight) / (bias @ bias)
            inputs = torch.cat([inputs, torch.ones(1)])
            expected[2 * i] += torch.outer(inputs, inputs)
    for term, wanted in zip(terms_of(model, obs), expected, strict=True):
        torch.testing.assert_close(term, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "size"), [("nature", 36), ("impala", 8)], ids=["nature", "impala"]
)
def test_activations_in_place_do_not_hide_what_a_convolution_gives(network: str, size: int):
    model = make_model(
        ObservationSpec((size, size, 3), "uint8"), Discrete(2), network=network,
        channel_multiplier=0.125, feature_size=8,
    )  # fmt: skip
    obs = torch.randint(256, (3, size, size, 3), dtype=torch.uint8)
    layers = layers_of(model)
    noise, values = fisher_noise(0, range(3), 1, model.action_spec, 0, 0)
    loss = fisher_loss(model, obs, noise, values, 1.0)
    plain = torch.autograd.grad(loss, list(model.parameters()))
    watch, seen = Watch(layers), {}
    with watch.on():
        watch._local.seen = seen
        again = fisher_loss(model, obs, noise, values, 1.0)
        outputs = [seen[i][1] for i in range(len(layers))]
        gradients = torch.autograd.grad(again, outputs)
    assert len(layers) == {"nature": 6, "impala": 18}[network]
    by_parameter = dict(zip(map(id, model.parameters()), plain, strict=True))
    for layer, gradient in zip(layers, gradients, strict=True):
        # The bias's gradient is the sum over all places of the gradient by what the layer gives.
        summed = gradient.flatten(2).sum((0, 2)) if gradient.dim() > 2 else gradient.sum(0)
        expected = by_parameter[id(layer.module.bias)]
        torch.testing.assert_close(summed, expected, rtol=1e-4, atol=1e-5)
    assert not any(layer.module._forward_hooks for layer in layers)


def test_threads_do_not_see_each_other():
    model = make_model(ObservationSpec((5,), "float32"), Discrete(3), hidden_sizes=(6,))
    watch, obs = Watch(layers_of(model)), torch.randn(12, 4, 5)
    noise = torch.rand(12, 4, 1, dtype=torch.float64)

    def terms(i: int) -> list[Tensor]:
        with torch.enable_grad():
            return watch.terms(model, obs[i], noise[i], torch.ones(4), 1.0)

    with watch.on():
        alone = [terms(i) for i in range(12)]
        together = list(Workers(3).map(terms, range(12)))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("spec", [Discrete(4), BOX])
def test_noise_is_an_environments_own_wherever_it_lives(spec: object):
    draw: Callable[..., tuple[Tensor, Tensor]] = fisher_noise
    whole = draw(3, (0, 1, 2, 3), 5, spec, 7, 0)
    parts = [draw(3, indices, 5, spec, 7, 0) for indices in ((0,), (1, 2, 3))]
    for i, size in enumerate((spec.noise_size, 1)):  # type: ignore[attr-defined]
        shapes = [(5, len(own[i]) // 5, size) for own in (whole, *parts)]
        together = torch.cat([p[i].reshape(s) for p, s in zip(parts, shapes[1:], strict=True)], 1)
        assert torch.equal(together, whole[i].reshape(shapes[0]))
    for other in ((4, 7, 0), (3, 8, 0), (3, 7, 1)):
        seed, iteration, epoch = other
        assert not torch.equal(draw(seed, (0,), 5, spec, iteration, epoch)[1], parts[0][1])


def test_values_are_drawn_around_themselves():
    """The gradient by a value is minus its noise over the deviation: 1 / deviation^2 on average."""
    model = make_model(ObservationSpec((2,), "float32"), Discrete(2), hidden_sizes=(3,))
    noise = np.random.default_rng(0).standard_normal(6)
    loss = fisher_loss(
        model, torch.ones(6, 2), torch.zeros(6, 1), torch.from_numpy(noise).float(), 2.0
    )
    (by_bias,) = torch.autograd.grad(loss, [model.value_head.bias])
    assert by_bias.item() == pytest.approx(-noise.sum() / 2, rel=1e-5)
    # The rest of the loss is the policy's: noise of 0 takes the first action.
    policy = F.cross_entropy(model.outputs(torch.ones(6, 2))[0], torch.zeros(6, dtype=torch.long))
    assert loss.item() == pytest.approx(6 * policy.item() + 0.5 * (noise**2).sum(), rel=1e-4)
