"""Kronecker factors of layers: what goes into a layer, and what its result does to a loss.

The Fisher information of a layer's weights is taken for a Kronecker product of two small matrices,
A (x) G: second moments of what goes into the layer, and of the gradient by what comes out of it.

Axes: N samples; K inputs and A outputs of a layer, bias included in K; L places of a convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_mpi.errors import ConfigError

IMAGES_AT_ONCE = 32
"""Whose patches are laid out together: a patch takes as many numbers as its kernel covers."""


LARGEST = 10_000
"""Rows of a factor: of 400 MB each, and minutes of one core to decompose."""


@dataclass(frozen=True)
class Layer:
    """A linear layer or a convolution.

    Its bias is the weight of one more input, which is always 1 (homogeneous coordinates): what
    the bias and the weights have to do with each other is then in the factor, and where the
    product is exact for the weights, it is exact for both.

    Source:
        Martens and Grosse 2015, arXiv:1503.05671, for linear layers; Grosse and Martens 2016,
        arXiv:1602.01407 (KFC), for convolutions. ikostrikov's code has biases as layers of their
        own instead, which leaves out what they have to do with the weights.
    """

    name: str
    """As in the model, with "/" for "."."""
    module: nn.Linear | nn.Conv2d

    @property
    def parameters(self) -> list[Tensor]:
        """Weight and, if there is one, bias."""
        module = self.module
        return [module.weight] if module.bias is None else [module.weight, module.bias]

    @property
    def sizes(self) -> tuple[int, int]:
        """K and A."""
        weight = self.module.weight
        return weight[0].numel() + (self.module.bias is not None), len(weight)

    def input_term(self, x: Tensor) -> Tensor:
        """Return the sum over samples of what goes in, times itself; of places the mean.

        Args:
            x: [N, K] or images [N, C, H, W] float32.

        Returns:
            [K, K] float32.
        """
        with_bias = self.module.bias is not None
        if isinstance(self.module, nn.Linear):
            inputs = F.pad(x, (0, 1), value=1.0) if with_bias else x
            return inputs.t() @ inputs
        size = self.sizes[0]
        total = x.new_zeros(size, size)
        for images in x.split(IMAGES_AT_ONCE):
            patches = self._patches(images)
            places = patches.shape[2]
            inputs = patches.transpose(1, 2).reshape(-1, patches.shape[1])
            if with_bias:
                inputs = F.pad(inputs, (0, 1), value=1.0)
            total += (inputs.t() @ inputs) / places
        return total

    def output_term(self, gradient: Tensor) -> Tensor:
        """Return the sum over samples, and places, of the gradients times themselves.

        Together with the mean over places of ``input_term`` it is KFC's estimate.

        Args:
            gradient: of each sample's own loss, [N, A] or [N, A, H, W] float32.

        Returns:
            [A, A] float32.
        """
        flat = gradient
        if gradient.dim() > 2:
            flat = gradient.permute(0, 2, 3, 1).reshape(-1, gradient.shape[1])
        return flat.t() @ flat

    def _patches(self, images: Tensor) -> Tensor:
        """Return what the kernel covers at each place, [N, K, L], ordered as the weights are."""
        module = self.module
        assert isinstance(module, nn.Conv2d), "a linear layer has no patches"
        padding = module.padding
        assert not isinstance(padding, str), "layers_of() refuses them"
        return F.unfold(images, module.kernel_size, padding=padding, stride=module.stride)

    def matrix(self, weight_and_bias: Sequence[Tensor]) -> Tensor:
        """Return what is shaped as the parameters in one matrix [A, K]."""
        weight, *bias = weight_and_bias
        return torch.cat([weight.reshape(len(weight), -1), *(b[:, None] for b in bias)], 1)

    def parts(self, matrix: Tensor) -> list[Tensor]:
        """Return a matrix [A, K] as what is shaped as the parameters."""
        weight = self.module.weight
        if self.module.bias is None:
            return [matrix.view(weight.shape)]
        return [matrix[:, :-1].reshape(weight.shape), matrix[:, -1]]


def layers_of(model: nn.Module, apart: Sequence[str] = ()) -> list[Layer]:
    """Return the layers that hold a model's parameters; frozen ones are left out.

    Args:
        model: of linear layers and convolutions.
        apart: names of the parameters that are no layer's.

    Raises:
        ConfigError: some other parameter is no such layer's, or a layer is frozen in part.
    """
    layers = [
        Layer(name.replace(".", "/"), module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and _is_plain(module))
    ]
    learning = {layer.name: [p.requires_grad for p in layer.parameters] for layer in layers}
    layers = [layer for layer in layers if any(learning[layer.name])]
    for layer in layers:
        if not all(learning[layer.name]):
            raise ConfigError(
                f"frozen_layers names a part of {layer.name.replace('/', '.')}, of which "
                "algorithm=acktr changes weight and bias together; name both, or neither"
            )
    known = {id(p) for layer in layers for p in layer.parameters}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in known and name not in apart:
            raise ConfigError(
                f"algorithm=acktr knows the curvature of linear layers and plain convolutions, and "
                f"{name} is of neither; use network=mlp, nature or impala without recurrent, or "
                "algorithm=a2c"
            )
    return layers


def _is_plain(module: nn.Conv2d) -> bool:
    of_zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return of_zeros and module.groups == 1 and module.dilation == (1, 1)


class Factors(nn.Module):
    """Running means of the layers' factors; ``.grad`` is for those of one minibatch.

    They are a module's parameters so that what carries gradients between ranks, on whatever
    device and exact or not, carries them too.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        """Begin with zeros.

        Raises:
            ConfigError: one of them would be too large; nothing was allocated.
        """
        super().__init__()
        for layer in layers:
            if (size := max(layer.sizes)) > LARGEST:
                raise ConfigError(
                    f"algorithm=acktr keeps and decomposes a matrix of {size:,} x {size:,} numbers "
                    f"({4 * size**2 / 2**30:.1f} GiB, several times over) for the layer "
                    f"{layer.name.replace('/', '.')}; use network=auto, so that images go through "
                    "convolutions, or algorithm=a2c or ppo"
                )
        for layer in layers:
            device = layer.module.weight.device
            for side, size in zip(("inputs", "outputs"), layer.sizes, strict=True):
                zeros = torch.zeros(size, size, device=device)
                self.register_parameter(f"{layer.name}/{side}", nn.Parameter(zeros))

    @torch.no_grad()
    def take_in(self, weight: float) -> None:
        """Move the means by ``weight``, in (0, 1], of the way to the newest factors."""
        for parameter in self.parameters():
            assert parameter.grad is not None, "gradients are views of a buffer"
            parameter.lerp_(parameter.grad, weight)
