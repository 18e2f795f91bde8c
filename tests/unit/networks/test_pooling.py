"""The kernels against torch's own max-pooling: the same bits, forward and back."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.networks import pooling
from ppo_mpi.networks.pooling import MaxPool, kernels

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason="pooling.c was not built: there was no compiler at installation"
)
SHAPES = [
    (2, 16, 64, 64),
    (3, 32, 16, 16),
    (1, 32, 7, 13),
    (2, 5, 8, 3),
    (2, 3, 1, 1),
    (1, 40, 2, 5),
]


def images(*shape: int, seed: int = 0) -> Tensor:
    """Return bfloat16 numbers [N, C, H, W], channels last; many of them are equal."""
    random = torch.Generator().manual_seed(seed)
    numbers = torch.randn(shape, generator=random).mul(2).round().div(4)
    return numbers.bfloat16().contiguous(memory_format=torch.channels_last)


def pooled_by_torch(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2, padding=1)


def gradient(pool, x: Tensor, seed: int = 1) -> Tensor:
    """Return the gradient that random weights on the result send back to ``x``."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = pool(x)
    random = torch.Generator().manual_seed(seed)
    weights = torch.randn(y.shape, generator=random).mul(2).round().bfloat16()  # some are -0
    weights = weights.contiguous(memory_format=torch.channels_last)
    return torch.autograd.grad(y, x, weights)[0]


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_kernels_give_torchs_bits(shape):
    x = images(*shape)
    assert torch.equal(MaxPool()(x), pooled_by_torch(x))
    ours, torchs = gradient(MaxPool(), x), gradient(pooled_by_torch, x)
    assert torch.equal(ours.view(torch.int16), torchs.view(torch.int16))
    assert MaxPool()(x).is_contiguous(memory_format=torch.channels_last)


@needs_kernels
@pytest.mark.parametrize("value", [float("inf"), -float("inf"), -0.0, 1e-40, 3e38])
def test_special_numbers_are_pooled_as_torch_does(value):
    x = images(2, 16, 9, 9)
    x[0, 3, 4, 4] = x[1, 0, 0, 0] = x[1, 5, 8, 8] = value
    x[0, 7] = -torch.inf
    x[0, 7, 5, 5] = value
    assert torch.equal(MaxPool()(x).view(torch.int16), pooled_by_torch(x).view(torch.int16))


@needs_kernels
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_not_a_number_is_not_lost(sign):
    x = images(1, 16, 9, 9)
    x[0, 3, 4, 4] = sign * float("nan")
    assert torch.equal(MaxPool()(x).isnan(), pooled_by_torch(x).isnan())


@needs_kernels
def test_gradients_of_any_layout_are_understood():
    x = images(2, 16, 8, 8).requires_grad_()
    weights = torch.randn(2, 16, 4, 4).bfloat16()  # channels first
    (ours,) = torch.autograd.grad(MaxPool()(x), x, weights)
    (torchs,) = torch.autograd.grad(pooled_by_torch(x), x, weights)
    assert torch.equal(ours, torchs)


@pytest.mark.parametrize(
    "x",
    [
        images(2, 16, 8, 8).float(),
        images(2, 16, 8, 8).contiguous(),
        images(0, 16, 8, 8),
    ],
    ids=["float32", "channels first", "no images"],
)
def test_what_the_kernels_do_not_know_goes_to_torch(x, monkeypatch):
    monkeypatch.setattr(pooling._MaxPool, "apply", lambda x: pytest.fail("not for the kernels"))
    assert torch.equal(MaxPool()(x), pooled_by_torch(x))


def test_without_the_kernels_torch_pools(monkeypatch):
    monkeypatch.setattr(pooling, "kernels", lambda: None)
    monkeypatch.setattr(pooling._MaxPool, "apply", lambda x: pytest.fail("there are no kernels"))
    x = images(2, 16, 8, 8)
    assert torch.equal(MaxPool()(x), pooled_by_torch(x))
