"""Networks of reward models: perceptrons, and encoders of observations.

Axes: N samples; H, W, C image; F features, or numbers of vectors; P pixels of images; K outputs.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.combined import Combined
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
    """A torso with a perceptron behind it, which ends without activation.

    Of observations of several parts each image has a torso of its own, and so have all vectors
    together; one linear layer with ReLU takes what they give side by side.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        config: RewardsConfig,
        outputs: int,
        hidden_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.spec = spec
        make = _make_combined if spec.parts else _make_torso
        self.torso = make(spec, config)
        features: int = self.torso.feature_size  # type: ignore[assignment]
        self.head = Perceptron(features, hidden_sizes, outputs)

    def forward(self, obs: Tensor) -> Tensor:
        """Map observations to [N, K].

        Args:
            obs: [N, F] or [N, H, W, C] float32; of several parts as ``numbers_of`` gives them.
        """
        inputs = _parts_of(self.spec, obs) if self.spec.parts else _channels_first(obs)
        outputs: Tensor = self.head(self.torso(inputs))
        return outputs


def _make_torso(spec: ObservationSpec, config: RewardsConfig) -> nn.Module:
    """Make the torso for images, or for vectors."""
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
        torso: nn.Module = lookup("network", NETWORKS, name)(spec, torso_config)
    except ConfigError as error:  # it speaks of the policy's setting
        raise ConfigError(f"reward_network={name}: {error}; or use reward_network=auto") from None
    return torso


def _make_combined(spec: ObservationSpec, config: RewardsConfig) -> nn.Module:
    """Make the torso for images and vectors together; ``reward_network`` is that of the images."""
    vectors = None
    if spec.vector_size:
        own = ObservationSpec((spec.vector_size,), "float32")
        vectors = _make_torso(own, replace(config, reward_network="mlp"))
    images = [
        _make_torso(ObservationSpec(part.shape, part.dtype), config)
        for part in spec.parts
        if part.is_image
    ]
    torso = Combined(vectors, images, config.reward_feature_size)
    initialize_torso(torso.linear, "orthogonal")
    return torso


def num_numbers(spec: ObservationSpec) -> int:
    """Return how many numbers an observation has; what only fills a row up is none."""
    shapes = [part.shape for part in spec.parts] if spec.parts else [spec.shape]
    return sum(map(prod, shapes))


def split_kinds(spec: ObservationSpec, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vectors [..., F] float32 and the pixels [..., P] uint8 of rows [..., bytes].

    Both are views: vectors come first in a row, and behind them the images.
    """
    pixels = sum(part.num_bytes for part in spec.parts if part.is_image)
    first = 4 * spec.vector_size
    return obs[..., :first].view(torch.float32), obs[..., first : first + pixels]


def numbers_of(spec: ObservationSpec, obs: Tensor) -> Tensor:
    """Return observations in float32: images and vectors in their shape, with pixels up to 255.

    Of rows [N, bytes] of several parts it is [N, F + P]: the vectors, then the images' pixels.
    """
    return torch.cat([x.float() for x in split_kinds(spec, obs)], -1) if spec.parts else obs.float()


def in_unit_range(spec: ObservationSpec, obs: Tensor) -> Tensor:
    """Return ``numbers_of`` observations with pixels divided by 255; vectors as they are."""
    if spec.parts:
        vectors, pixels = split_kinds(spec, obs)
        return torch.cat([vectors, pixels.float() / 255], -1)
    return obs.float() / 255 if spec.is_image else obs


def _parts_of(spec: ObservationSpec, numbers: Tensor) -> tuple[Tensor, ...]:
    """Return vectors [N, F] and images [N, C, H, W] from the rows of ``numbers_of``."""
    shapes = [part.shape for part in spec.parts if part.is_image]
    vectors, *images = numbers.split([spec.vector_size, *map(prod, shapes)], 1)
    own = zip(images, shapes, strict=True)
    return vectors, *(_channels_first(image.unflatten(1, shape)) for image, shape in own)


def _channels_first(obs: Tensor) -> Tensor:
    """Return images [N, H, W, C] as [N, C, H, W]; vectors as they are."""
    return obs.permute(0, 3, 1, 2) if obs.dim() == 4 else obs  # channels last in memory
