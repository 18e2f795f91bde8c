"""Networks of reward models: perceptrons, and encoders of observations.

Axes: N samples; H, W, C image; F features; K outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.initialization import initialize, initialize_torso
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.registry import NETWORKS, lookup
from ppo_mpi.settings.network import NetworkConfig
from ppo_mpi.settings.rewards import RewardsConfig

SMALL_IMAGE = 36
"""Pixels below which the convolutions of nature leave nothing."""


class Perceptron(nn.Module):
    """Hidden layers with ReLU and a linear layer behind them."""

    def __init__(self, inputs: int, hidden_sizes: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.hidden = Mlp([inputs, *hidden_sizes], nn.ReLU)
        self.head = AlignedLinear(self.hidden.feature_size, outputs)
        initialize_torso(self.hidden, "orthogonal")
        initialize(self.head, "orthogonal", 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, F] to [N, K]."""
        outputs: Tensor = self.head(self.hidden(x))
        return outputs


class Encoder(nn.Module):
    """A torso with a perceptron behind it, which ends without activation."""

    def __init__(
        self,
        spec: ObservationSpec,
        config: RewardsConfig,
        outputs: int,
        hidden_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        name = config.reward_network
        if name == "auto" and spec.is_image:
            name = "nature" if min(spec.shape[:2]) >= SMALL_IMAGE else "impala"
        elif name == "auto":
            name = "mlp"
        torso_config = NetworkConfig(
            network=name,
            feature_size=config.reward_feature_size,
            hidden_sizes=config.encoder_hidden_sizes,
            activation="relu",
            initialization="orthogonal",
        )
        try:
            self.torso = lookup("network", NETWORKS, name)(spec, torso_config)
        except ConfigError as error:  # it speaks of the policy's setting
            raise ConfigError(
                f"reward_network={name}: {error}; or use reward_network=auto"
            ) from None
        self.head = Perceptron(self.torso.feature_size, hidden_sizes, outputs)

    def forward(self, obs: Tensor) -> Tensor:
        """Map observations, float32 [N, F] or [N, H, W, C], to [N, K]."""
        if obs.dim() == 4:
            obs = obs.permute(0, 3, 1, 2)  # channels last, as the pixels stay where they are
        outputs: Tensor = self.head(self.torso(obs))
        return outputs


def in_unit_range(obs: Tensor) -> Tensor:
    """Return float32 observations: images uint8 divided by 255, vectors as they are."""
    return obs.float() / 255 if obs.dtype == torch.uint8 else obs
