"""The multi-layer perceptron for vectors.

Axes: N samples; F features of an observation.
"""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
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


def make_parted_torsos(
    spec: ObservationSpec, config: NetworkConfig, name: str
) -> tuple[Mlp, Mlp, Mlp]:
    """Make the layers that policy and value share, the policy's own, and the value's own.

    Args:
        spec: of the observations.
        config: how many layers are shared, and the sizes of all.
        name: of the network; only perceptrons part between two layers.

    Raises:
        ConfigError: it is another network.
    """
    if name != "mlp":
        raise ConfigError(
            f"shared_layers={config.shared_layers} counts the layers of an mlp, but the network "
            f"for these observations is {name}; use shared_torso=true to share all of it, or leave "
            "shared_layers out"
        )
    activation, num = ACTIVATIONS[config.activation], config.num_shared_layers
    sizes = [prod(spec.shape), *config.hidden_sizes]
    value_sizes = [prod(spec.shape), *config.of_value().hidden_sizes]
    parts = (sizes[: num + 1], sizes[num:], value_sizes[num:])
    trunk, torso, value_torso = (Mlp(part, activation) for part in parts)
    how = "orthogonal" if config.initialization == "auto" else config.initialization
    for part in (trunk, torso, value_torso):
        initialize_torso(part, how)
    return trunk, torso, value_torso
