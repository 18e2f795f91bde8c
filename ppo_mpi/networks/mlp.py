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

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,  # with torch's slope, 0.01
}


class Mlp(nn.Module):
    """Linear layers with one activation behind each, or behind each but the last."""

    def __init__(
        self, sizes: list[int], activation: type[nn.Module], activate_last: bool = True
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size, out in zip(sizes, sizes[1:], strict=False):
            layers += [AlignedLinear(size, out), activation()]
        self.activation = activation
        self.layers = nn.Sequential(*(layers if activate_last else layers[:-1]))
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
    activation = ACTIVATIONS[config.activation]
    torso = Mlp([prod(spec.shape), *config.hidden_sizes], activation)
    initialize_torso(
        torso, "orthogonal" if config.initialization == "auto" else config.initialization
    )
    return torso
