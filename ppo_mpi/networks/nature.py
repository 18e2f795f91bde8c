"""The convolutional network of the Nature DQN paper, for images of any size.

Axes: N samples; H, W, C image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.initialization import initialize_torso
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.settings.network import NetworkConfig

CHANNELS = (32, 64, 64)
KERNELS = (8, 4, 3)
STRIDES = (4, 2, 1)
SMALLEST = 36
"""Images smaller than this leave nothing behind the last convolution."""


class Nature(nn.Module):
    """Three convolutions and one linear layer, all with ReLU.

    Source:
        Mnih et al. 2015, "Human-level control through deep reinforcement learning", methods.
    """

    def __init__(self, image_shape: tuple[int, ...], channels: list[int], features: int) -> None:
        super().__init__()
        height, width, depth = image_shape
        layers: list[nn.Module] = []
        for out, kernel, stride in zip(channels, KERNELS, STRIDES, strict=True):
            layers += [nn.Conv2d(depth, out, kernel, stride), nn.ReLU(inplace=True)]
            depth = out
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        self.convolutions = nn.Sequential(*layers)
        self.linear = AlignedLinear(height * width * depth, features)
        self.feature_size = features

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W], floating point in [0, 1], to features [N, feature_size]."""
        x = self.convolutions(images)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return F.relu(self.linear(x), inplace=True)


def make_torso(spec: ObservationSpec, config: NetworkConfig) -> nn.Module:
    """Make the torso that ``config`` describes.

    Raises:
        ConfigError: observations are not images, or too small ones.
    """
    if not spec.is_image or min(spec.shape[:2]) < SMALLEST:
        raise ConfigError(
            f"network=nature needs images of {SMALLEST}x{SMALLEST} or more, but observations are "
            f"{spec.shape}; use network=impala for small images and network=mlp for vectors"
        )
    channels = [max(1, round(c * config.channel_multiplier)) for c in CHANNELS]
    torso = Nature(spec.shape, channels, config.feature_size)
    how = "orthogonal" if config.initialization == "auto" else config.initialization
    initialize_torso(torso, how)
    for convolution in torso.modules():
        if isinstance(convolution, nn.Conv2d):
            convolution.weight.data = convolution.weight.data.to(memory_format=torch.channels_last)
    return torso
