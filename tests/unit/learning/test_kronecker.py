"""Factors of layers against loops over samples, places and patches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.kronecker import Factors, Layer, layers_of

torch.manual_seed(0)
LINEAR = [nn.Linear(5, 3), nn.Linear(4, 1, bias=False)]
CONVOLUTIONS = [
    nn.Conv2d(2, 3, 3, padding=1),
    nn.Conv2d(3, 4, (4, 2), stride=(3, 2), padding=(0, 1)),
    nn.Conv2d(1, 2, 2, stride=2, bias=False),
]


def outer(vectors: list[Tensor]) -> Tensor:
    total = torch.zeros(len(vectors[0]), len(vectors[0]))
    for vector in vectors:
        for i, x in enumerate(vector):
            for j, y in enumerate(vector):
                total[i, j] += x * y
    return total


@pytest.mark.parametrize("module", LINEAR)
def test_factors_of_a_linear_layer_are_sums_of_outer_products(module: nn.Linear):
    layer = Layer("layer", module)
    x, gradient = torch.randn(6, module.in_features), torch.randn(6, module.out_features)
    one = [] if module.bias is None else [torch.ones(1)]
    inputs = [torch.cat([row, *one]) for row in x]
    torch.testing.assert_close(layer.input_term(x), outer(inputs))
    torch.testing.assert_close(layer.output_term(gradient), outer(list(gradient)))


@pytest.mark.parametrize("module", CONVOLUTIONS)
def test_factors_of_a_convolution_are_those_of_its_places(module: nn.Conv2d):
    """KFC's Omega (a sum over places) times its Gamma (a mean over places)."""
    layer = Layer("layer", module)
    images = torch.randn(3, module.in_channels, 9, 8).to(memory_format=torch.channels_last)
    (h, w), (down, right) = module.padding, module.stride
    padded = torch.zeros(3, module.in_channels, 9 + 2 * h, 8 + 2 * w)
    padded[:, :, h : h + 9, w : w + 8] = images
    rows, columns = module(images).shape[2:]
    patches = []
    for image in padded:
        for i in range(rows):
            for j in range(columns):
                top, left = i * down, j * right
                kernel = module.kernel_size
                patch = image[:, top : top + kernel[0], left : left + kernel[1]].flatten()
                patches.append(patch if module.bias is None else torch.cat([patch, torch.ones(1)]))
    gradient = torch.randn(3, module.out_channels, rows, columns)
    gradients = [
        gradient[n, :, i, j] for n in range(3) for i in range(rows) for j in range(columns)
    ]
    torch.testing.assert_close(layer.input_term(images) * rows * columns, outer(patches))
    torch.testing.assert_close(layer.output_term(gradient), outer(gradients))
    # Patches are ordered as the weights: they give what the layer gives.
    weights = layer.matrix([p.detach() for p in layer.parameters])
    torch.testing.assert_close(weights @ patches[-1], module(images)[-1, :, -1, -1].detach())


@pytest.mark.parametrize("module", [*LINEAR, *CONVOLUTIONS])
def test_a_matrix_goes_back_into_weight_and_bias(module: nn.Linear | nn.Conv2d):
    layer = Layer("layer", module)
    matrix = layer.matrix([p.detach() for p in layer.parameters])
    assert matrix.shape == layer.sizes[::-1]
    for part, parameter in zip(layer.parts(matrix), layer.parameters, strict=True):
        assert torch.equal(part, parameter)


def test_all_layers_are_found_and_what_is_none_is_refused_by_name():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.Linear(4, 4)))
    assert [layer.name for layer in layers_of(model)] == ["0", "2/0"]
    for odd in (nn.GRU(4, 4), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, groups=2)):
        with pytest.raises(ConfigError, match=r"and 1\.weight\S* is of neither; use network=mlp"):
            layers_of(nn.Sequential(nn.Linear(2, 2), odd))


def test_running_means_move_by_their_weight():
    factors = Factors([Layer("a/b", LINEAR[0])])
    assert [name for name, _ in factors.named_parameters()] == ["a/b/inputs", "a/b/outputs"]
    for parameter in factors.parameters():
        parameter.grad = torch.full_like(parameter, 8.0)
    factors.take_in(1.0)
    for parameter in factors.parameters():
        parameter.grad.zero_()
    factors.take_in(0.25)
    assert all((parameter == 6.0).all() for parameter in factors.parameters())


def test_a_factor_that_would_fill_the_memory_is_refused_before_it_is_made():
    layer = Layer("torso/layers/0", nn.Linear(64 * 64 * 3, 64))
    message = (
        r"12,289 x 12,289 numbers \(0\.6 GiB, .* for the layer torso\.layers\.0; use network=auto"
    )
    with pytest.raises(ConfigError, match=message):
        Factors([Layer("small", nn.Linear(2, 2)), layer])
