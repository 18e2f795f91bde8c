"""The torsos: sizes known from the papers, initial weights, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks import impala, mlp, nature
from ppo_mpi.networks.initialization import initialize, initialize_torso
from ppo_mpi.settings.network import NetworkConfig

PROCGEN = ObservationSpec((64, 64, 3), "uint8")
ATARI = ObservationSpec((84, 84, 4), "uint8")
VECTOR = ObservationSpec((6,), "float32")


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_impala_on_procgen_has_the_papers_layers():
    torso = impala.make_torso(PROCGEN, NetworkConfig())
    convolutions = [m for m in torso.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [16] * 5 + [32] * 10
    # By hand: 3x3 kernels 3>16, 4 x 16>16, 16>32, 4 x 32>32, 32>32, 4 x 32>32, then 2048>256.
    kernels = 3 * 16 + 4 * 16 * 16 + 16 * 32 + 9 * 32 * 32
    assert num_parameters(torso) == 9 * kernels + 5 * 16 + 10 * 32 + 2048 * 256 + 256


def test_impala_computes_what_its_figure_shows():
    torch.manual_seed(0)
    torso = impala.Impala((12, 8, 3), [4], 5)
    images = torch.rand(2, 3, 12, 8)
    convolution, _, first, second = torso.blocks
    x = nn.functional.max_pool2d(convolution(images), 3, stride=2, padding=1)
    for block in (first, second):
        x = x + block.second(torch.relu(block.first(torch.relu(x))))
    flat = torch.relu(x).permute(0, 2, 3, 1).reshape(2, -1)
    expected = torch.relu(flat @ torso.linear.weight.T + torso.linear.bias)
    torch.testing.assert_close(torso(images), expected)


@pytest.mark.parametrize("shape", [(64, 64, 3), (8, 8, 3), (7, 13, 1), (1, 1, 2), (33, 64, 4)])
def test_impala_takes_images_of_any_size(shape):
    torso = impala.make_torso(ObservationSpec(shape, "uint8"), NetworkConfig(feature_size=9))
    assert torso(torch.rand(2, shape[2], *shape[:2])).shape == (2, 9)


def test_nature_on_atari_has_the_papers_layers():
    torso = nature.make_torso(ATARI, NetworkConfig(feature_size=512))
    kernels = 4 * 32 * 64 + 32 * 64 * 16 + 64 * 64 * 9
    assert num_parameters(torso) == kernels + 32 + 64 + 64 + 3136 * 512 + 512


@pytest.mark.parametrize(
    "shape", [(84, 84, 4), (64, 64, 3), (36, 36, 1), (36, 100, 3), (97, 51, 2)]
)
def test_nature_takes_images_of_any_size_from_36_on(shape):
    torso = nature.make_torso(ObservationSpec(shape, "uint8"), NetworkConfig(feature_size=9))
    assert torso(torch.rand(2, shape[2], *shape[:2])).shape == (2, 9)


@pytest.mark.parametrize("make_torso", [impala.make_torso, nature.make_torso])
@pytest.mark.parametrize(("multiplier", "factor"), [(0.5, 0.5), (2.0, 2.0), (0.001, None)])
def test_channels_are_multiplied_and_never_vanish(make_torso, multiplier, factor):
    plain = make_torso(PROCGEN, NetworkConfig())
    torso = make_torso(PROCGEN, NetworkConfig(channel_multiplier=multiplier))
    for one, other in zip(plain.modules(), torso.modules(), strict=True):
        if isinstance(one, nn.Conv2d):
            assert isinstance(other, nn.Conv2d)
            assert other.out_channels == (one.out_channels * factor if factor else 1)


def test_impala_refuses_vectors():
    message = r"network=impala needs images, but observations are \(6,\); use network=mlp"
    with pytest.raises(ConfigError, match=message):
        impala.make_torso(VECTOR, NetworkConfig())


@pytest.mark.parametrize("spec", [VECTOR, ObservationSpec((64, 35, 3), "uint8")])
def test_nature_refuses_vectors_and_small_images(spec):
    with pytest.raises(ConfigError, match="network=nature needs images of 36x36 or more, but"):
        nature.make_torso(spec, NetworkConfig())


@pytest.mark.parametrize(("activation", "function"), [("tanh", torch.tanh), ("relu", torch.relu)])
def test_mlp_is_linear_layers_with_an_activation_behind_each(activation, function):
    torso = mlp.make_torso(VECTOR, NetworkConfig(hidden_sizes=(5, 4), activation=activation))
    x = torch.randn(3, 6)
    expected = x
    for layer in torso.layers:
        if isinstance(layer, nn.Linear):
            expected = function(expected @ layer.weight.T + layer.bias)
    torch.testing.assert_close(torso(x), expected)
    assert torso.feature_size == 4


def test_mlp_flattens_images():
    torso = mlp.make_torso(ObservationSpec((4, 5, 3), "uint8"), NetworkConfig())
    assert torso(torch.rand(2, 3, 4, 5)).shape == (2, 64)


@pytest.mark.parametrize(
    ("make_torso", "spec", "how"),
    [
        (impala.make_torso, PROCGEN, "xavier_uniform"),
        (nature.make_torso, PROCGEN, "orthogonal"),
        (mlp.make_torso, VECTOR, "orthogonal"),
    ],
)
def test_auto_takes_the_initial_weights_of_each_torsos_source(make_torso, spec, how):
    torch.manual_seed(0)
    torso = make_torso(spec, NetworkConfig(initialization="auto"))
    torch.manual_seed(0)
    named = make_torso(spec, NetworkConfig(initialization=how))
    for one, other in zip(torso.parameters(), named.parameters(), strict=True):
        assert torch.equal(one, other)


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
