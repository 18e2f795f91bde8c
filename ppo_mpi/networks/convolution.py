"""Convolutions as IMPALA has them, 3 x 3 with padding 1, and its residual block in one piece.

On processors, in bfloat16, torch's weight gradients run at two thirds of the processor's speed,
and what lies between convolutions reads and writes every activation again. ``convolution.c`` does
both faster and rounds less often; setup.py builds it where there is a compiler. Without it, on
other processors and in other precisions all is computed by torch.

Axes: N images; C channels; K channels of the result; H, W size.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ppo_mpi.networks.compiled import check_memory, load_library

CHANNELS = (16, 32, 64)
"""The numbers of channels that the kernels know."""
COLORS = 3
"""They also take images of so many, which need no gradient."""
PLAIN, RELU, ADD, MASK, MASK_ADD = range(5)
"""What becomes of a sum, as in ``convolution.c``."""


@cache
def kernels() -> Any:
    """Return the library built from ``convolution.c``; None where it cannot be used."""
    library = load_library("convolution")
    if library is None or not library.convolution_is_fast() or has_matrix_unit():
        return None
    pointer, size, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
    image = [long, size, size, size, size]
    library.pack_weights.argtypes = [pointer, *[long] * 4, *[size] * 3, pointer]
    library.pack_weights.restype = None
    library.convolve.argtypes = [pointer, *image, *[pointer] * 2, *[size] * 2, *[pointer] * 3]
    library.convolve_backward.argtypes = [pointer, pointer, *image, size, pointer, pointer]
    return library


def has_matrix_unit() -> bool:
    """Return whether the processor has AMX, which torch's convolutions use and these do not."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False


class Convolution(nn.Conv2d):
    """A convolution of 3 x 3 with padding 1."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, K, H, W]."""
        is_image = self.in_channels == COLORS and not x.requires_grad
        if (is_image or self.in_channels in CHANNELS) and _is_known(self, x):
            return _Convolution.apply(x, self.weight, self.bias)
        return super().forward(x)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.second = Convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        first, second = self.first, self.second
        if first.in_channels in CHANNELS and _is_known(first, x):
            return _ResidualBlock.apply(x, first.weight, first.bias, second.weight, second.bias)
        hidden = F.relu(first(F.relu(x)), inplace=True)
        return x + second(hidden)


def _is_known(layer: Convolution, x: Tensor) -> bool:
    """Return whether the kernels take ``x`` in place of autocast; C is the caller's to check."""
    return (
        x.dtype == torch.bfloat16
        and x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and layer.weight.dtype == torch.float32
        and layer.out_channels in CHANNELS
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
        and kernels() is not None
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        back = _convolve_back(gradient, weight) if ctx.needs_input_grad[0] else None
        return back, *_parameter_gradients(x, gradient)


class _ResidualBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
    ) -> Tensor:
        hidden = _convolve(x, weight1, bias1, relu=True, kind=RELU)
        ctx.save_for_backward(x, hidden, weight1, weight2)
        return _convolve(hidden, weight2, bias2, kind=ADD, others=(x,))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x, hidden, weight1, weight2 = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        inner = _convolve_back(gradient, weight2, MASK, (hidden,))
        return (
            _convolve_back(inner, weight1, MASK_ADD, (x, gradient)),
            *_parameter_gradients(x, inner, relu=True),
            *_parameter_gradients(hidden, gradient),
        )


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    relu: bool = False,
    kind: int = PLAIN,
    others: tuple[Tensor, ...] = (),
    back: bool = False,
) -> Tensor:
    """Return the convolution of an image, of max(x, 0) if ``relu``, and what ``kind`` makes of it.

    Args:
        x: [N, C, H, W] bfloat16, channels last in memory, as all images here.
        weight: [K, C, 3, 3] float32; [C, K, 3, 3] if ``back``.
        bias: [K] float32; None = 0.
        relu: whether ``x`` goes through a ReLU first.
        kind: which of the numbers above.
        others: the images [N, K, H, W] bfloat16 that ``kind`` takes.
        back: whether this is the way back, from a gradient to that of the input.

    Returns:
        [N, K, H, W] bfloat16.
    """
    images, channels, height, width = x.shape
    strides = weight.stride()
    outputs = weight.shape[1 if back else 0]
    packed = torch.empty(3, (3 * channels + 1) // 2, outputs, 2, dtype=torch.bfloat16)
    kernels().pack_weights(
        weight.data_ptr(), *(strides[1::-1] if back else strides[:2]), *strides[2:],
        outputs, channels, back, packed.data_ptr(),
    )  # fmt: skip
    shape = (images, outputs, height, width)
    y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    pointers = [image.data_ptr() for image in others]
    check_memory(
        kernels().convolve(
            x.data_ptr(), images, height, width, channels, relu, packed.data_ptr(),
            None if bias is None else bias.data_ptr(), outputs, kind,
            *pointers, *[None] * (2 - len(pointers)), y.data_ptr(),
        )
    )  # fmt: skip
    return y


def _convolve_back(
    gradient: Tensor, weight: Tensor, kind: int = PLAIN, others: tuple[Tensor, ...] = ()
) -> Tensor:
    """Return the gradient of a convolution's input from that of its result."""
    return _convolve(gradient, weight, None, kind=kind, others=others, back=True)


def _parameter_gradients(x: Tensor, gradient: Tensor, relu: bool = False) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight [K, C, 3, 3] and bias [K], float32, never rounded."""
    images, channels, height, width = x.shape
    outputs = gradient.shape[1]
    numbers = {"dtype": torch.float32, "device": "cpu"}  # whatever the defaults are
    weight = torch.zeros(3, 3, channels, outputs, **numbers)  # type: ignore[call-overload]
    bias = torch.zeros(outputs, **numbers)  # type: ignore[call-overload]
    check_memory(
        kernels().convolve_backward(
            x.data_ptr(), gradient.data_ptr(), images, height, width, channels, relu, outputs,
            weight.data_ptr(), bias.data_ptr(),
        )
    )  # fmt: skip
    return weight.permute(3, 2, 0, 1), bias
