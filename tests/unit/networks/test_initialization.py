"""Initial weights: each way against its definition, and who takes which with which gain."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.networks import mlp, nature
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.initialization import initialize, initialize_torso
from ppo_mpi.settings.network import NetworkConfig

VECTOR = ObservationSpec((6,), "float32")
ATARI = ObservationSpec((84, 84, 4), "uint8")


def norms(weight: torch.Tensor) -> torch.Tensor:
    """Return the norm of each output's weights [A]."""
    return weight.square().sum(1).sqrt()


def test_orthogonal_weights_are_orthogonal_with_their_gain():
    layer = nn.Linear(9, 4)
    initialize(layer, "orthogonal", 3.0)
    torch.testing.assert_close(layer.weight @ layer.weight.T, 9 * torch.eye(4), atol=1e-5, rtol=0)
    assert not layer.bias.any()


def test_xavier_weights_are_uniform_within_their_bound():
    layer = nn.Conv2d(4, 8, 3)
    initialize(layer, "xavier_uniform", 1.0)
    bound = math.sqrt(6 / (4 * 9 + 8 * 9))
    largest = layer.weight.abs().max().item()
    assert 0.95 * bound < largest <= bound
    assert not layer.bias.any()


def test_a_torsos_orthogonal_gain_is_that_of_relu():
    layer = nn.Sequential(nn.Linear(9, 4))
    initialize_torso(layer, "orthogonal")
    weight = layer[0].weight
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(4), atol=1e-5, rtol=0)


def test_normc_weights_are_normal_numbers_whose_rows_are_scaled_to_the_gain():
    layer = nn.Linear(9, 4)
    torch.manual_seed(5)
    drawn = torch.randn(4, 9).double()
    torch.manual_seed(5)
    initialize(layer, "normc", 0.25)
    for row, numbers in zip(layer.weight.tolist(), drawn.tolist(), strict=True):
        length = math.sqrt(sum(number**2 for number in numbers))
        assert row == pytest.approx([0.25 * number / length for number in numbers], rel=1e-5)
    assert not layer.bias.any()


def test_normc_leaves_convolutions_to_xavier():
    layers = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Linear(5, 3))
    initialize_torso(layers, "normc")
    bound = math.sqrt(6 / (4 * 9 + 8 * 9))
    assert 0.95 * bound < layers[0].weight.abs().max().item() <= bound
    torch.testing.assert_close(norms(layers[1].weight), torch.ones(3))
    assert not layers[0].bias.any()


def test_normc_is_for_all_layers_of_a_model_with_the_gains_of_its_source():
    torch.manual_seed(0)
    config = NetworkConfig(network="nature", initialization="normc", feature_size=512)
    model = ActorCritic(ATARI, Discrete(4), config, torch.float32)
    assert isinstance(model.torso, nature.Nature)
    torch.testing.assert_close(norms(model.torso.linear.weight), torch.ones(512))
    torch.testing.assert_close(norms(model.policy_head.weight), torch.full((4,), 0.01))
    torch.testing.assert_close(norms(model.value_head.weight), torch.ones(1))
    first = model.torso.convolutions[0].weight
    assert first.abs().max().item() <= math.sqrt(6 / (4 * 64 + 32 * 64))


@pytest.mark.parametrize("how", ["auto", "xavier_uniform", "orthogonal", "normc"])
def test_heads_have_the_gains_that_are_set(how):
    config = NetworkConfig(initialization=how, policy_gain=1.0, value_gain=math.sqrt(2))
    model = ActorCritic(VECTOR, Discrete(4), config, torch.float32)
    torch.testing.assert_close(norms(model.policy_head.weight), torch.ones(4))
    torch.testing.assert_close(norms(model.value_head.weight), torch.full((1,), math.sqrt(2)))
    products = model.policy_head.weight @ model.policy_head.weight.T
    is_orthogonal = torch.allclose(products, torch.eye(4), atol=1e-5)
    assert is_orthogonal == (how != "normc")


@pytest.mark.parametrize("how", ["xavier_uniform", "orthogonal", "normc"])
def test_an_mlp_is_initialized_as_asked(how):
    torch.manual_seed(0)
    torso = mlp.make_torso(VECTOR, NetworkConfig(initialization=how, hidden_sizes=(6, 6)))
    weights = [layer.weight for layer in torso.linears]
    products = [weight @ weight.T for weight in weights]
    if how == "orthogonal":
        for product in products:
            torch.testing.assert_close(product, 2 * torch.eye(6), atol=1e-5, rtol=0)
    elif how == "normc":
        for product in products:
            torch.testing.assert_close(product.diagonal(), torch.ones(6))
    else:
        assert max(weight.abs().max().item() for weight in weights) <= math.sqrt(6 / 12)
