"""The torsos: sizes known from the papers, what they compute, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks import impala, mlp, nature
from ppo_mpi.settings.network import NetworkConfig

PROCGEN = ObservationSpec((64, 64, 3), "uint8")
ATARI = ObservationSpec((84, 84, 4), "uint8")
VECTOR = ObservationSpec((6,), "float32")


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def leaky_relu(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.01 * x)


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


@pytest.mark.parametrize(
    ("channels", "smallest"), [((4,), 8), ((4, 6), 20), ((4, 6, 5), 36)], ids=str
)
def test_nature_with_fewer_convolutions_takes_smaller_images(channels, smallest):
    config = NetworkConfig(conv_channels=channels, feature_size=9)
    torso = nature.make_torso(ObservationSpec((smallest, 40, 2), "uint8"), config)
    assert torso(torch.rand(2, 2, smallest, 40)).shape == (2, 9)
    found = [(m.out_channels, m.kernel_size, m.stride) for m in torso.modules()
             if isinstance(m, nn.Conv2d)]  # fmt: skip
    layers = [(8, 4), (4, 2), (3, 1)]
    assert found == [(c, (k, k), (s, s)) for c, (k, s) in zip(channels, layers, strict=False)]
    with pytest.raises(ConfigError, match=f"needs images of {smallest}x{smallest} or more, but"):
        nature.make_torso(ObservationSpec((40, smallest - 1, 2), "uint8"), config)


def test_nature_has_three_convolutions_at_most():
    config = NetworkConfig(conv_channels=(8, 8, 8, 8))
    message = r"conv_channels=8,8,8,8 has 4 convolutions, but network=nature has 3 at most"
    with pytest.raises(ConfigError, match=message):
        nature.make_torso(ATARI, config)


@pytest.mark.parametrize(("name", "function"), [("relu", torch.relu), ("leaky_relu", leaky_relu)])
def test_nature_has_one_activation_behind_every_layer(name, function):
    torch.manual_seed(0)
    config = NetworkConfig(conv_channels=(4, 5), feature_size=7, conv_activation=name)
    torso = nature.make_torso(ObservationSpec((40, 44, 3), "uint8"), config)
    images = torch.rand(2, 3, 40, 44)
    x = images
    for kernels, stride in zip(torso.convolutions[::2], (4, 2), strict=True):
        size = kernels.weight.shape[-1]
        patches = x.unfold(2, size, stride).unfold(3, size, stride)  # [N, C, H, W, size, size]
        x = torch.einsum("nchwij,kcij->nkhw", patches, kernels.weight)
        x = function(x + kernels.bias[:, None, None])
    flat = x.permute(0, 2, 3, 1).reshape(2, -1)
    expected = function(flat @ torso.linear.weight.T + torso.linear.bias)
    torch.testing.assert_close(torso(images), expected)
    assert (expected < 0).any() == (name == "leaky_relu")


def test_impala_has_as_many_blocks_as_channels():
    torso = impala.make_torso(PROCGEN, NetworkConfig(conv_channels=(8, 24), channel_multiplier=2.0))
    convolutions = [m for m in torso.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [16] * 5 + [48] * 5
    assert torso.linear.in_features == 16 * 16 * 48


def test_impala_has_relu_only():
    message = "conv_activation=leaky_relu is not for network=impala, whose blocks have ReLU"
    with pytest.raises(ConfigError, match=message):
        impala.make_torso(PROCGEN, NetworkConfig(conv_activation="leaky_relu"))


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


@pytest.mark.parametrize(
    ("activation", "function"),
    [("tanh", torch.tanh), ("relu", torch.relu), ("leaky_relu", leaky_relu)],
)
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
