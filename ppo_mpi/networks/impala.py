"""The IMPALA residual network for images.

Axes: N samples; H, W, C image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.convolution import Convolution, ResidualBlock
from ppo_mpi.networks.initialization import initialize_torso
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.networks.pooling import MaxPool
from ppo_mpi.settings.network import NetworkConfig

CHANNELS = (16, 32, 32)
"""Of the published blocks."""


class Impala(nn.Module):
    """Blocks of convolution, max-pool and two residual blocks, then one linear layer.

    Source:
        Espeholt et al. 2018, arXiv:1802.01561, figure 3 (right), without the LSTM; three blocks of
        (16, 32, 32) channels, 256 features, as in Cobbe et al. 2020, arXiv:1912.01588.
    """

    def __init__(self, image_shape: tuple[int, ...], channels: list[int], features: int) -> None:
        super().__init__()
        height, width, depth = image_shape
        blocks: list[nn.Module] = []
        for out in channels:
            blocks += [
                Convolution(depth, out),
                MaxPool(),
                ResidualBlock(out),
                ResidualBlock(out),
            ]
            depth, height, width = out, (height + 1) // 2, (width + 1) // 2
        self.blocks = nn.Sequential(*blocks)
        self.linear = AlignedLinear(height * width * depth, features)
        self.feature_size = features

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W], floating point in [0, 1], to features [N, feature_size]."""
        x = F.relu(self.blocks(images), inplace=True)
        # Channels last in memory: this order flattens without a copy.
        x = x.permute(0, 2, 3, 1).flatten(1)
        return F.relu(self.linear(x), inplace=True)


def make_torso(spec: ObservationSpec, config: NetworkConfig) -> nn.Module:
    """Make the torso that ``config`` describes.

    Raises:
        ConfigError: observations are not images, or the activation is another than ReLU.
    """
    if not spec.is_image:
        raise ConfigError(
            f"network=impala needs images, but observations are {spec.shape}; use network=mlp"
        )
    if config.conv_activation != "relu":
        raise ConfigError(
            f"conv_activation={config.conv_activation} is not for network=impala, whose blocks "
            "have ReLU; use network=nature or leave it out"
        )
    numbers = config.conv_channels or CHANNELS
    channels = [max(1, round(c * config.channel_multiplier)) for c in numbers]
    torso = Impala(spec.shape, channels, config.feature_size)
    how = "xavier_uniform" if config.initialization == "auto" else config.initialization
    initialize_torso(torso, how)
    for convolution in torso.modules():
        if isinstance(convolution, nn.Conv2d):
            convolution.weight.data = convolution.weight.data.to(memory_format=torch.channels_last)
    return torso
