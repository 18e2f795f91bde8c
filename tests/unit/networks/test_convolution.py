"""The kernels against plain torch: no less exact, and the same bits where sums are exact."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_mpi.networks import convolution
from ppo_mpi.networks.convolution import Convolution, ResidualBlock, kernels

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason="convolution.c was not built, or the processor has no AVX-512 BF16"
)
SHAPES = [
    (3, 16, 32, 32),
    (2, 32, 16, 16),
    (2, 32, 8, 8),
    (1, 16, 7, 13),
    (2, 64, 9, 3),
    (3, 32, 1, 1),
    (1, 16, 19, 42),
]


def images(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return normal numbers [N, C, H, W] bfloat16, channels last."""
    random = torch.Generator().manual_seed(seed)
    numbers = torch.randn(shape, generator=random).mul(scale).bfloat16()
    return numbers.contiguous(memory_format=torch.channels_last)


def whole_numbers(*shape: int, seed: int = 0) -> Tensor:
    """Return -1, 0 and 1: all sums of their products are exact."""
    random = torch.Generator().manual_seed(seed)
    numbers = torch.randint(-1, 2, shape, generator=random).bfloat16()
    return numbers.contiguous(memory_format=torch.channels_last)


def plain_block(block: ResidualBlock, x: Tensor) -> Tensor:
    """Return what the block is, by torch."""
    first, second = (
        lambda x, layer=layer: F.conv2d(x, layer.weight, layer.bias, padding=1)
        for layer in (block.first, block.second)
    )
    return x + second(F.relu(first(F.relu(x))))


def plain_convolution(layer: Convolution, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, padding=1)


def results(function, layer: nn.Module, x: Tensor, weights: Tensor) -> list[Tensor]:
    """Return the result and the gradients of parameters and, if it needs one, of ``x``."""
    inputs = [*layer.parameters(), *([x] if x.requires_grad else [])]
    with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype == torch.bfloat16):
        y = function(x)
    return [y.detach(), *torch.autograd.grad(y, inputs, weights.to(y.dtype))]


def layer_of(kind, *sizes: int) -> nn.Module:
    """Return a layer whose weights bfloat16 has, so that all precisions compute the same."""
    torch.manual_seed(1)
    layer = kind(*sizes)
    for parameter in layer.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return layer


def compare(layer: nn.Module, plain, x: Tensor, weights: Tensor) -> None:
    """Check that the kernels are as near to float64 as torch's own bfloat16."""
    ours = results(layer, layer, x, weights)
    torchs = results(lambda x: plain(layer, x), layer, x, weights)
    wide = x.detach().double().requires_grad_(x.requires_grad)
    exact = results(lambda x: plain(layer.double(), x), layer.double(), wide, weights)
    for one, other, truth in zip(ours, torchs, exact, strict=True):
        assert one.shape == other.shape
        error, usual = (float((result - truth).norm()) for result in (one, other))
        assert error <= 1.02 * usual + 1e-6 * float(truth.norm())


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_residual_block_is_no_less_exact_than_torchs(shape):
    x = images(*shape).requires_grad_()
    compare(layer_of(ResidualBlock, shape[1]), plain_block, x, images(*shape, seed=2))


@needs_kernels
@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 3, 5, 7), *SHAPES], ids=str)
@pytest.mark.parametrize("outputs", [16, 32, 64])
def test_a_convolution_is_no_less_exact_than_torchs(shape, outputs):
    x = images(*shape).requires_grad_(shape[1] != 3)
    weights = images(shape[0], outputs, *shape[2:], seed=2)
    compare(layer_of(Convolution, shape[1], outputs), plain_convolution, x, weights)


@needs_kernels
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), *SHAPES], ids=str)
def test_where_every_sum_is_exact_the_bits_are_those_of_float32(shape):
    layer = layer_of(Convolution, shape[1], 16)
    layer.weight.data = whole_numbers(*layer.weight.shape, seed=3).float()
    layer.bias.data = whole_numbers(16, 1, 1, 1).flatten().float()
    x = whole_numbers(*shape).requires_grad_(shape[1] != 3)
    weights = whole_numbers(shape[0], 16, *shape[2:], seed=4)
    wide = x.detach().float().requires_grad_(x.requires_grad)
    ours, exact = results(layer, layer, x, weights), results(layer, layer, wide, weights)
    for one, truth in zip(ours, exact, strict=True):
        assert torch.equal(one, truth.to(one.dtype))


@needs_kernels
def test_an_image_has_the_same_bits_alone_and_in_a_batch():
    x, block = images(5, 32, 16, 16), layer_of(ResidualBlock, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(block(x), torch.cat([block(image[None]) for image in x]))


@needs_kernels
def test_threads_do_not_disturb_each_other():
    block, weights = layer_of(ResidualBlock, 16), images(4, 16, 32, 32, seed=2)
    pieces = [images(4, 16, 32, 32, seed=seed).requires_grad_() for seed in range(8)]
    alone = [results(block, block, x, weights) for x in pieces]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: results(block, block, x, weights), pieces))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@needs_kernels
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf")])
def test_what_is_not_finite_is_not_lost(value):
    x, block = images(2, 16, 8, 8), layer_of(ResidualBlock, 16)
    x[1, 3, 4, 4] = value
    y, *gradients = results(block, block, x, images(2, 16, 8, 8, seed=2))
    assert y[0].isfinite().all()
    assert not y[1, :, 4, 4].isfinite().any()
    assert not gradients[0].isfinite().all()


@needs_kernels
def test_gradients_of_any_layout_are_understood():
    x, block = images(2, 16, 8, 8).requires_grad_(), layer_of(ResidualBlock, 16)
    weights = images(2, 16, 8, 8, seed=2)
    ours = results(block, block, x, weights.contiguous())
    for one, other in zip(ours, results(block, block, x, weights), strict=True):
        assert torch.equal(one, other)


@needs_kernels
def test_weights_of_any_layout_are_understood():
    x, weights = images(2, 16, 8, 8), images(2, 32, 8, 8, seed=2)
    layer = layer_of(Convolution, 16, 32)
    contiguous = results(layer, layer, x, weights)
    layer.weight.data = layer.weight.data.to(memory_format=torch.channels_last)
    for one, other in zip(contiguous, results(layer, layer, x, weights), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("x", "channels"),
    [
        (images(2, 16, 8, 8).float(), 16),
        (images(2, 16, 8, 8).contiguous(), 16),
        (images(0, 16, 8, 8), 16),
        (images(2, 8, 8, 8), 8),
        (images(2, 3, 8, 8).requires_grad_(), 3),
    ],
    ids=["float32", "channels first", "no images", "8 channels", "the gradient of an image"],
)
def test_what_the_kernels_do_not_know_goes_to_torch(x, channels, monkeypatch):
    forbid_kernels(monkeypatch)
    layer = layer_of(Convolution, channels, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype == torch.bfloat16):
        assert torch.equal(layer(x), plain_convolution(layer, x))


def test_without_the_kernels_torch_computes(monkeypatch):
    monkeypatch.setattr(convolution, "kernels", lambda: None)
    forbid_kernels(monkeypatch)
    x, block = images(2, 16, 8, 8), layer_of(ResidualBlock, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(block(x), plain_block(block, x))


def test_in_float32_a_block_has_torchs_bits():
    x, block = images(2, 16, 8, 8).float().requires_grad_(), layer_of(ResidualBlock, 16)
    weights = images(2, 16, 8, 8, seed=2)
    plain = results(lambda x: plain_block(block, x), block, x, weights)
    for one, other in zip(results(block, block, x, weights), plain, strict=True):
        assert torch.equal(one, other)


def forbid_kernels(monkeypatch) -> None:
    for function in (convolution._Convolution, convolution._ResidualBlock):
        monkeypatch.setattr(function, "apply", lambda *_: pytest.fail("not for the kernels"))
