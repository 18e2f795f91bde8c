"""The torso for observations of images and vectors together.

Axes: N samples; H, W, C image; F numbers of all vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_mpi.envs.spaces import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks import impala, mlp, nature
from ppo_mpi.networks.initialization import initialize_torso
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.settings.network import NetworkConfig

IMAGE_TORSOS = {
    "auto": impala.make_torso,
    "combined": impala.make_torso,
    "impala": impala.make_torso,
    "mlp": mlp.make_torso,
    "nature": nature.make_torso,
}


class Combined(nn.Module):
    """A torso for each image and one for all vectors, then one linear layer with ReLU."""

    def __init__(
        self, vector_torso: nn.Module | None, image_torsos: Sequence[nn.Module], features: int
    ) -> None:
        """Join torsos.

        Args:
            vector_torso: None if there are no vectors.
            image_torsos: one for each image.
            features: of the last layer.
        """
        super().__init__()
        self.vector_torso = vector_torso
        self.image_torsos = nn.ModuleList(image_torsos)
        torsos = [*image_torsos] if vector_torso is None else [vector_torso, *image_torsos]
        size = 0
        for torso in torsos:
            size += torso.feature_size  # type: ignore[assignment, operator]
        self.linear = AlignedLinear(size, features)
        self.feature_size = features

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Map vectors [N, F] float32 and images [N, C, H, W] to features [N, feature_size]."""
        vectors, *images = inputs
        found = [torso(image) for torso, image in zip(self.image_torsos, images, strict=True)]
        if self.vector_torso is not None:
            # Positions and speeds would lose more than pixels in a lower precision, and it saves
            # hardly any time here.
            with torch.autocast(vectors.device.type, enabled=False):
                found.insert(0, self.vector_torso(vectors))
        return F.relu(self.linear(torch.cat([own.float() for own in found], 1)), inplace=True)


def make_torso(spec: ObservationSpec, config: NetworkConfig) -> nn.Module:
    """Make the torso that ``config`` describes; each image's is the one that ``network`` names.

    Raises:
        ConfigError: observations are not of several parts, or the network is none for images, or
            none for these.
    """
    if not spec.parts:
        raise ConfigError(
            "network=combined needs observations of images and vectors together, but they are "
            f"{spec.shape}; use network=auto"
        )
    if config.network not in IMAGE_TORSOS:
        raise ConfigError(
            f"network={config.network} cannot see observations that have images and vectors "
            f"together; use one of {', '.join(IMAGE_TORSOS)}"
        )
    vectors = None
    if spec.vector_size:
        vectors = mlp.make_torso(ObservationSpec((spec.vector_size,), "float32"), config)
    make = IMAGE_TORSOS[config.network]
    images = [
        make(ObservationSpec(part.shape, part.dtype), config)
        for part in spec.parts
        if part.is_image
    ]
    torso = Combined(vectors, images, config.feature_size)
    initialize_torso(
        torso.linear, "orthogonal" if config.initialization == "auto" else config.initialization
    )
    return torso


def unpacked(spec: ObservationSpec, obs: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
    """Return the vectors [N, F] float32 of packed observations, then their images.

    Args:
        spec: of the rows.
        obs: [N, bytes] uint8.
        precision: of the images [N, C, H, W], whose numbers lie in [0, 1].
    """
    found = [obs[:, : 4 * spec.vector_size].view(torch.float32)]
    for part, place in zip(spec.parts, spec.places, strict=True):
        if part.is_image:
            pixels = obs[:, place : place + part.num_bytes].unflatten(1, part.shape)
            image = pixels.permute(0, 3, 1, 2)
            image = image.to(precision, memory_format=torch.channels_last, copy=True)
            found.append(image.mul_(1 / 255))
    return tuple(found)
