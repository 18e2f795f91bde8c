"""The natural gradient against exact inverses, its trust region, its state and its rates."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learners import COMM, ENVS, STEPS, make_batch
from torch import Tensor

from ppo_mpi.distributed.gradients import ExactGradients, FlatGradients
from ppo_mpi.envs.base import Box, Discrete, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.algorithm import Place
from ppo_mpi.learning.fisher import Watch, fisher_loss, fisher_noise
from ppo_mpi.learning.natural_gradient import NaturalGradient, expected_tensors
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.divergence import kl_divergence
from ppo_mpi.networks.freezing import freeze
from ppo_mpi.settings.acktr import AcktrConfig
from ppo_mpi.settings.network import NetworkConfig

SETTINGS = AcktrConfig(curvature_momentum=0.0, eigen_every=3)
INDICES = tuple(range(ENVS))
SAMPLES = torch.arange(STEPS * ENVS)


def make(
    settings: AcktrConfig = SETTINGS,
    kind: type[FlatGradients] = FlatGradients,
    actions: Any = Discrete(4),
    apart: Sequence[str] = (),
    frozen: Sequence[str] = (),
    **network: Any,
) -> NaturalGradient:
    torch.manual_seed(3)
    config = NetworkConfig(**({"hidden_sizes": (8,), "shared_torso": False} | network))
    model = ActorCritic(ObservationSpec((5,), "float32"), actions, config, torch.float32)
    freeze(model, frozen)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return NaturalGradient(model, settings, named, apart, lambda factors: kind(factors, ()))


@pytest.mark.parametrize("frozen", ["torso.layers.0", "torso.layers.2", "policy_head", "log_std"])
def test_frozen_layers_have_no_curvature_and_the_others_step(frozen: str):
    actions = Box((-1.0, -1.0), (1.0, 1.0))
    optimizer = make(actions=actions, hidden_sizes=(8, 6), frozen=(frozen,))
    optimizer.observe(make_batch(make().model), [SAMPLES], Place(9, INDICES, 0, 0), None, COMM)
    give_gradients(optimizer)
    before = {name: p.clone() for name, p in optimizer.model.named_parameters()}
    optimizer.step(0.1)
    for name, parameter in optimizer.model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith(frozen), name
    assert not any(name.startswith(frozen.replace(".", "/")) for name in optimizer.tensors())
    assert optimizer.tensors().keys() == expected_tensors(optimizer.model).keys()


def test_a_layer_that_is_frozen_in_part_is_refused():
    with pytest.raises(ConfigError, match=r"a part of policy_head, .* name both, or neither"):
        make(frozen=("policy_head.bias",))


def observe(
    optimizer: NaturalGradient, iteration: int, pieces: int = 1, workers: Workers | None = None
) -> None:
    batch = make_batch(optimizer.model, seed=iteration)
    place = Place(9, INDICES, iteration, 0)
    parts = list(SAMPLES.split(-(-len(SAMPLES) // pieces)))
    optimizer.observe(batch, parts, place, workers, COMM)


def give_gradients(optimizer: NaturalGradient, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    for parameter in optimizer.parameters:
        parameter.grad = torch.randn(parameter.shape, generator=random)
    return [p.grad for p in optimizer.parameters if p.grad is not None]


def test_the_direction_is_the_exact_inverse_of_the_damped_kronecker_product():
    optimizer = make()
    observe(optimizer, 0)
    gradients = give_gradients(optimizer)
    ids = map(id, optimizer.parameters)
    directions = dict(zip(ids, optimizer.directions(gradients), strict=True))
    factors = dict(optimizer.factors.named_parameters())
    for layer in optimizer.layers:
        a, g = (factors[f"{layer.name}/{side}"].detach().double() for side in ("inputs", "outputs"))
        gradient = layer.matrix([p.grad for p in layer.parameters]).double()  # type: ignore[misc]
        dense = torch.kron(g, a) + SETTINGS.curvature_damping * torch.eye(len(a) * len(g))
        expected = torch.linalg.solve(dense, gradient.flatten()).view_as(gradient)
        found = layer.matrix([directions[id(p)] for p in layer.parameters])
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_where_the_product_is_exact_it_is_the_fisher_information_itself():
    """A head whose probabilities are the same everywhere, and values of deviation 1.

    All actions are enumerated: noise in the middle of quarters draws each as often as its
    probability (1/2, 1/4, 1/4) says.
    """
    optimizer = make(actions=Discrete(3))
    model = optimizer.model
    with torch.no_grad():
        model.policy_head.weight.zero_()
        model.policy_head.bias.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    obs = torch.randn(10, 5).repeat_interleave(4, 0)
    noise = ((torch.arange(4) + 0.5) / 4).double().repeat(10)[:, None]
    signs = torch.tensor([1.0, -1.0]).repeat(20)  # a noise whose square is 1, the variance
    watch = Watch(optimizer.layers)
    with watch.on():
        terms = watch.terms(model, obs, noise, signs, 1.0)
    model.double()
    p = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    exact_g = {"policy_head": p.diag() - torch.outer(p, p), "value_head": torch.ones(1, 1)}
    checked = 0
    for i, layer in enumerate(optimizer.layers):
        if layer.name not in exact_g:
            continue
        torso = model.torso if layer.name == "policy_head" else model.value_torso
        assert torso is not None
        features = torch.cat([torso(obs.double()), torch.ones(40, 1)], 1)
        dense = torch.zeros(layer.sizes[0] * layer.sizes[1], layer.sizes[0] * layer.sizes[1])
        for n in range(40):  # the exact Fisher information, sample by sample
            a = torch.outer(features[n], features[n]).detach()
            dense = dense + torch.kron(exact_g[layer.name].double(), a) / 40
        product = torch.kron(terms[2 * i + 1] / 40, terms[2 * i] / 40)
        torch.testing.assert_close(product.double(), dense, rtol=1e-4, atol=1e-6)
        checked += 1
    assert checked == 2


@pytest.mark.parametrize("function", ["exp", "softplus"])
def test_the_fisher_information_of_deviations_is_the_mean_of_squared_slopes(function: str):
    """E (d log p / d parameter)^2 by Gauss and Hermite's nodes."""
    config = {"std_function": function, "min_std": 0.01, "initial_log_std": -0.7}
    box = Box((-1.0, -1.0), (1.0, 1.0))
    for squash in ("clip", "squash"):
        model = make(actions=box, box_actions=squash, **config).model
        assert model.log_std is not None
        nodes, weights = np.polynomial.hermite_e.hermegauss(16)
        expected = torch.zeros(2)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            distribution, _ = model(torch.zeros(1, 5))
            action = distribution.sample(torch.full((1, 2), node)).detach()
            (slope,) = torch.autograd.grad(distribution.log_prob(action).sum(), [model.log_std])
            expected += float(weight) * slope**2
        found = model.policy.own_fisher(model.log_std).detach()
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        assert function == "softplus" or found.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("actions", [Discrete(4), Box((-1.0, -1.0), (1.0, 1.0))])
@pytest.mark.parametrize("learning_rate", [0.01, 100.0])
def test_a_step_stays_within_the_trust_region(actions: Any, learning_rate: float):
    optimizer = make(replace(SETTINGS, eigen_every=1), actions=actions)
    model, batch = optimizer.model, make_batch(make().model)
    obs = batch.rollout.obs.flatten(0, 1)
    for draw in range(20):  # of the same observations
        optimizer.observe(batch, [SAMPLES], Place(9, INDICES, draw, 0), None, COMM)
    distribution, values = copy.deepcopy(model)(obs)
    noise, value_noise = fisher_noise(1, INDICES, STEPS, model.action_spec, 0, 0)
    loss = fisher_loss(model, obs, noise, value_noise, 1.0) / len(obs)
    gradients = torch.autograd.grad(loss, optimizer.parameters)
    for parameter, gradient in zip(optimizer.parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step(learning_rate)
    predicted = optimizer.metrics()["predicted_kl"]
    assert predicted <= 0.5 * SETTINGS.kl_clip * (1 + 1e-6)
    after, values_after = model(obs)
    kl = kl_divergence(distribution, after).mean() + 0.5 * ((values - values_after) ** 2).mean()
    # What layers do together is not in blocks, the damping is not in the divergence.
    assert 0.5 * predicted < kl.item() < 3 * predicted
    assert (optimizer.metrics()["trust_region_scale"] < 1) == (learning_rate > 1)


def test_the_learning_rate_of_now_reaches_the_step():
    changes = []
    for rate in (0.1, 0.05):
        optimizer = make(replace(SETTINGS, kl_clip=1e9))
        observe(optimizer, 0)
        give_gradients(optimizer)
        before = [p.detach().clone() for p in optimizer.parameters]
        optimizer.step(rate)
        changes.append([p.detach() - b for p, b in zip(optimizer.parameters, before, strict=True)])
    for first, second in zip(*changes, strict=True):
        torch.testing.assert_close(first, 2 * second)


def test_values_may_have_a_rate_of_their_own():
    names = ("value_torso.layers.0.weight", "value_head.weight")
    found = []
    for rate_apart in (None, 0.3, 0.1):
        optimizer = make(replace(SETTINGS, kl_clip=1e9), apart=names)
        observe(optimizer, 0)
        give_gradients(optimizer)
        before = [p.detach().clone() for p in optimizer.parameters]
        optimizer.step(0.1, rate_apart)
        changes = [p.detach() - b for p, b in zip(optimizer.parameters, before, strict=True)]
        found.append(dict(zip(optimizer.names, changes, strict=True)))
    plain, thrice, same = found
    for name, change in plain.items():
        torch.testing.assert_close(same[name], change)
        torch.testing.assert_close(thrice[name], (3 if name in names else 1) * change)


def test_values_may_have_a_trust_region_of_their_own():
    """Each part then moves as if the other had no gradient."""
    settings = replace(SETTINGS, kl_clip=1e-3)

    def change(settings: AcktrConfig, without: str) -> dict[str, Tensor]:
        optimizer = make(settings)
        values = [name for name in optimizer.names if name.startswith("value")]
        optimizer = make(settings, apart=values)
        observe(optimizer, 0)
        give_gradients(optimizer)
        for name, p in zip(optimizer.names, optimizer.parameters, strict=True):
            if without and name.startswith("value") == (without == "values"):
                p.grad = torch.zeros_like(p)
        before = [p.detach().clone() for p in optimizer.parameters]
        optimizer.step(1.0)
        told.append(optimizer.metrics())
        changes = [p.detach() - b for p, b in zip(optimizer.parameters, before, strict=True)]
        return dict(zip(optimizer.names, changes, strict=True))

    told: list[dict[str, float]] = []
    policy_alone = change(settings, "values")
    values_alone = change(replace(settings, kl_clip=0.1), "policy")
    both = change(replace(settings, value_kl_clip=0.1), "")
    for name, moved in both.items():
        alone = values_alone if name.startswith("value") else policy_alone
        torch.testing.assert_close(moved, alone[name])
    assert told[2]["predicted_kl"] == pytest.approx(0.5e-3)
    assert told[2]["value_predicted_kl"] == pytest.approx(0.05)


def test_momentum_is_a_sum_that_each_step_leaves_a_part_of_and_weights_decay():
    settings = replace(SETTINGS, kl_clip=1e9, curvature_momentum=0.5)
    optimizer = make(settings)
    observe(optimizer, 0)
    parameter = optimizer.parameters[0]
    give_gradients(optimizer)
    (direction, *_) = optimizer.directions([p.grad for p in optimizer.parameters])  # type: ignore[misc]
    before = parameter.detach().clone()
    optimizer.step(0.1)
    torch.testing.assert_close(parameter.detach(), before - 0.1 * 0.5 * direction)
    before = parameter.detach().clone()
    optimizer.step(0.1)
    torch.testing.assert_close(parameter.detach(), before - 0.1 * 0.5 * 1.5 * direction)
    decayed = make(replace(settings, weight_decay=0.1))
    observe(decayed, 0)
    for p in decayed.parameters:
        p.grad = torch.zeros_like(p)
    weights = [p.detach().clone() for p in decayed.parameters]
    expected = decayed.directions([0.1 * w for w in weights])
    decayed.step(0.1)
    for p, w, v in zip(decayed.parameters, weights, expected, strict=True):
        torch.testing.assert_close(p.detach(), w - 0.05 * v)


def test_factors_are_unbiased_running_means_and_bases_are_of_every_third_step():
    decay = SETTINGS.curvature_decay
    single = []
    for iteration in range(4):
        alone = make()
        observe(alone, iteration)
        single.append({n: p.detach().clone() for n, p in alone.factors.named_parameters()})
    optimizer = make()
    bases = []
    for iteration in range(4):
        observe(optimizer, iteration)
        bases.append(optimizer.tensors()["policy_head/inputs/eigenvalues"].clone())
        weights = decay ** np.arange(iteration, -1, -1)
        weights /= weights.sum()
        for name, factor in optimizer.factors.named_parameters():
            parts = zip(weights, single, strict=False)
            mean = sum(float(weight) * own[name] for weight, own in parts)
            torch.testing.assert_close(factor.detach(), mean)
    assert torch.equal(bases[0], bases[1])
    assert torch.equal(bases[1], bases[2])
    assert not torch.equal(bases[2], bases[3])


@pytest.mark.parametrize("pieces", [1, 5])
def test_pieces_and_threads_add_up_to_the_same_factors(pieces: int):
    whole, parts = make(), make()
    observe(whole, 0)
    observe(parts, 0, pieces, Workers(2, exact=False))
    for one, other in zip(whole.factors.parameters(), parts.factors.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stopped_after", range(1, 5))
def test_what_goes_on_from_its_tensors_goes_on_to_the_same_bits(stopped_after: int):
    settings = replace(SETTINGS, curvature_momentum=0.9, curvature_every=2)

    def go(optimizer: NaturalGradient, first: int, last: int) -> None:
        for iteration in range(first, last):
            observe(optimizer, iteration)
            give_gradients(optimizer, iteration)
            optimizer.step(0.2)

    whole, first, second = (make(settings, ExactGradients) for _ in range(3))
    go(whole, 0, 6)
    go(first, 0, stopped_after)
    second.load_tensors({name: tensor.clone() for name, tensor in first.tensors().items()})
    second.model.load_state_dict(first.model.state_dict())
    go(second, stopped_after, 6)
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, second.tensors()[name]), name
    for one, other in zip(whole.parameters, second.parameters, strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_is_expected_to_hold_what_there_is():
    optimizer = make(actions=Box((-1.0,), (1.0,)))
    found, expected = optimizer.tensors(), expected_tensors(optimizer.model)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert (tensor.shape, tensor.dtype) == (expected[name].shape, expected[name].dtype), name
