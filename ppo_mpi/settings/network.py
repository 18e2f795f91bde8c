"""The network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.settings.checks import positive


@dataclass(frozen=True)
class NetworkConfig:
    """The network: torso(s), heads and their initial weights."""

    network: Literal["auto", "impala", "nature", "mlp"] = "auto"
    """Torso; auto takes impala for images and mlp for vectors."""
    channel_multiplier: float = 1.0
    """Factor on the channels of impala (16, 32, 32) and nature (32, 64, 64)."""
    feature_size: int = 256
    """Features behind the torso's last layer (impala 256, nature 512); mlp ignores it."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers of mlp."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of mlp (impala and nature have ReLU)."""
    initialization: Literal["auto", "xavier_uniform", "orthogonal"] = "auto"
    """Initial weights of the torso; auto takes xavier_uniform for impala and orthogonal (gain
    sqrt 2) for the others. The heads are orthogonal with gains 0.01 (policy) and 1 (value)."""
    shared_torso: bool = True
    """Whether policy and value share one torso (Procgen, Atari) or have one each (control)."""
    initial_log_std: float = 0.0
    """Natural logarithm of the first standard deviation, for continuous actions."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        positive(channel_multiplier=self.channel_multiplier)
