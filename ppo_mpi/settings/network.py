"""The network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least, positive


@dataclass(frozen=True)
class NetworkConfig:
    """The network: torso(s), heads and their initial weights."""

    network: Literal["auto", "impala", "nature", "mlp", "combined"] = "auto"
    """Torso; auto takes impala for images, mlp for vectors and combined for both together, which
    has an impala for each image (another, if its name is given) and an mlp for the vectors."""
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
    box_actions: Literal["clip", "squash"] = "clip"
    """How continuous actions keep to their bounds: clip leaves it to the environments; squash
    takes the hyperbolic tangent of the sample, scaled to the bounds, which must be finite."""
    std_function: Literal["exp", "softplus"] = "exp"
    """What makes a standard deviation of its learned parameter."""
    min_std: float = 0.0
    """Smallest standard deviation of continuous actions (0.01 is usual with softplus)."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        positive(channel_multiplier=self.channel_multiplier)
        at_least(0, min_std=self.min_std)
        if self.min_std >= math.exp(min(self.initial_log_std, 700.0)):
            raise ConfigError(
                f"min_std={self.min_std} is not below the first standard deviation, "
                f"e^initial_log_std with initial_log_std={self.initial_log_std}: it could not be "
                "learned; use a smaller min_std or a larger initial_log_std"
            )
