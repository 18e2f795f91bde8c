"""The convolutional network of the Nature DQN paper, for images of any size, and its variants.

Axes: N samples; H, W, C image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.initialization import initialize_torso
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.settings.network import NetworkConfig

CHANNELS = (32, 64, 64)
KERNELS = (8, 4, 3)
STRIDES = (4, 2, 1)
ACTIVATIONS: dict[str, type[nn.ReLU] | type[nn.LeakyReLU]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
}


class Nature(nn.Module):
    """Up to three convolutions and one linear layer, each with an activation behind it.

    Source:
        Mnih et al. 2015, "Human-level control through deep reinforcement learning", methods;
        two convolutions of 16 and 32 channels are those of Mnih et al. 2016, arXiv:1602.01783.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        channels: list[int],
        features: int,
        activation: type[nn.ReLU] | type[nn.LeakyReLU] = nn.ReLU,
    ) -> None:
        super().__init__()
        height, width, depth = image_shape
        layers: list[nn.Module] = []
        for out, kernel, stride in zip(channels, KERNELS, STRIDES, strict=False):
            layers += [nn.Conv2d(depth, out, kernel, stride), activation(inplace=True)]
            depth = out
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        self.convolutions = nn.Sequential(*layers)
        self.linear = AlignedLinear(height * width * depth, features)
        self.activation = activation(inplace=True)
        self.feature_size = features

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W], floating point in [0, 1], to features [N, feature_size]."""
        x = self.convolutions(images)
        x = x.permute(0, 2, 3, 1).flatten(1)
        features: Tensor = self.activation(self.linear(x))
        return features


def smallest(convolutions: int) -> int:
    """Return the height and width below which the last convolution has nothing to look at."""
    size = 1
    for kernel, stride in reversed([*zip(KERNELS, STRIDES, strict=True)][:convolutions]):
        size = (size - 1) * stride + kernel
    return size


def make_torso(spec: ObservationSpec, config: NetworkConfig) -> nn.Module:
    """Make the torso that ``config`` describes.

    Raises:
        ConfigError: observations are not images, or too small ones; or there are too many
            convolutions.
    """
    numbers = config.conv_channels or CHANNELS
    if len(numbers) > len(KERNELS):
        raise ConfigError(
            f"conv_channels={','.join(map(str, numbers))} has {len(numbers)} convolutions, but "
            f"network=nature has {len(KERNELS)} at most; use fewer, or network=impala"
        )
    least = smallest(len(numbers))
    if not spec.is_image or min(spec.shape[:2]) < least:
        raise ConfigError(
            f"network=nature needs images of {least}x{least} or more, but observations are "
            f"{spec.shape}; use network=impala for small images and network=mlp for vectors"
        )
    channels = [max(1, round(c * config.channel_multiplier)) for c in numbers]
    activation = ACTIVATIONS[config.conv_activation]
    torso = Nature(spec.shape, channels, config.feature_size, activation)
    how = "orthogonal" if config.initialization == "auto" else config.initialization
    initialize_torso(torso, how)
    for convolution in torso.modules():
        if isinstance(convolution, nn.Conv2d):
            convolution.weight.data = convolution.weight.data.to(memory_format=torch.channels_last)
    return torso
