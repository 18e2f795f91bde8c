"""The multi-layer perceptron for vectors.

Axes: N samples; F features of an observation.
"""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.networks.initialization import initialize_torso
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.settings.network import NetworkConfig


class Mlp(nn.Module):
    """Linear layers with one activation behind each."""

    def __init__(self, sizes: list[int], activation: type[nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size, out in zip(sizes, sizes[1:], strict=False):
            layers += [AlignedLinear(size, out), activation()]
        self.activation = activation
        self.layers = nn.Sequential(*layers)
        self.feature_size = sizes[-1]

    def forward(self, vectors: Tensor) -> Tensor:
        """Map [N, ...] to features [N, feature_size]; an image is flattened first."""
        features: Tensor = self.layers(vectors.flatten(1))
        return features

    @property
    def linears(self) -> list[AlignedLinear]:
        """The linear layers, in order."""
        return [layer for layer in self.layers if isinstance(layer, AlignedLinear)]


def make_torso(spec: ObservationSpec, config: NetworkConfig) -> nn.Module:
    """Make the torso that ``config`` describes."""
    activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[config.activation]
    torso = Mlp([prod(spec.shape), *config.hidden_sizes], activation)
    initialize_torso(
        torso, "orthogonal" if config.initialization == "auto" else config.initialization
    )
    return torso
