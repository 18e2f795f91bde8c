"""The network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least, positive

MULTIPLE = 4
"""Of which recurrent_size is one: rows of other lengths differ in how they lie in memory."""
OF_VALUE = ("hidden_sizes", "left_hidden_sizes", "right_hidden_sizes", "joint_hidden_sizes")
"""Settings of which the value's own torso may have others, named ``value_...``."""


@dataclass(frozen=True)
class NetworkConfig:
    """The network: torso(s), heads and their initial weights."""

    network: Literal["auto", "impala", "nature", "mlp", "split", "combined"] = "auto"
    """Torso; auto takes impala for images, mlp for vectors and combined for both together, which
    has an impala for each image (another, if its name is given) and an mlp for the vectors."""
    conv_channels: tuple[int, ...] = ()
    """Channels of impala's blocks (empty: 16, 32, 32), as many as there are, or of the first of
    nature's three convolutions (empty: 32, 64, 64)."""
    channel_multiplier: float = 1.0
    """Factor on these channels."""
    conv_activation: Literal["relu", "leaky_relu"] = "relu"
    """Activation of nature; leaky_relu has the slope 0.01 below 0."""
    feature_size: int = 256
    """Features behind the torso's last layer (impala 256, nature 512); mlp ignores it."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers of mlp."""
    value_hidden_sizes: tuple[int, ...] = ()
    """Those of the value's own mlp, which it has with shared_torso=false; empty = as
    hidden_sizes."""
    split_start: int = 0
    """Number of the vector at which split begins its right part: 14 gives the left one the first
    14 numbers, -10 gives the right one the last 10."""
    left_hidden_sizes: tuple[int, ...] = (64, 64)
    """Layers of split's left part."""
    right_hidden_sizes: tuple[int, ...] = (64, 64)
    """Layers of split's right part."""
    joint_hidden_sizes: tuple[int, ...] = (64,)
    """Layers of split that take what both parts give; there may be none."""
    activate_branches: bool = True
    """Whether the last layer of split's left and right part has an activation behind it."""
    value_left_hidden_sizes: tuple[int, ...] = ()
    """Layers of the left part of the value's own split; empty = as left_hidden_sizes."""
    value_right_hidden_sizes: tuple[int, ...] = ()
    """Layers of its right part; empty = as right_hidden_sizes."""
    value_joint_hidden_sizes: tuple[int, ...] = ()
    """Layers of it that take what both parts give; empty = as joint_hidden_sizes."""
    activation: Literal["tanh", "relu", "leaky_relu"] = "tanh"
    """Activation of mlp and split; leaky_relu has the slope 0.01 below 0."""
    initialization: Literal["auto", "xavier_uniform", "orthogonal", "normc"] = "auto"
    """Initial weights of the torso; auto takes xavier_uniform for impala and orthogonal (gain
    sqrt 2) for the others. normc: each output's weights have the norm 1, convolutions are
    xavier_uniform. The heads are orthogonal, or normc where that is chosen."""
    policy_gain: float = 0.01
    """Gain of the policy head's initial weights."""
    value_gain: float = 1.0
    """Gain of the value head's initial weights."""
    shared_torso: bool = True
    """Whether policy and value share one torso (Procgen, Atari) or have one each (control)."""
    shared_layers: int = 0
    """Layers of mlp that policy and value share before they part, with shared_torso=false; -1 = all
    of hidden_sizes. A recurrent layer is behind all of them, and each has its own."""
    recurrent: Literal["none", "gru", "lstm"] = "none"
    """Whether the policy remembers within an episode: a layer of gated recurrent units or of long
    short-term memory behind the torso (behind each, where the value has its own)."""
    recurrent_size: int = 0
    """Units of that layer, a multiple of 4; 0 = as many as the torso's features."""
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
        """Refuse values that are out of their range, or that do not fit each other."""
        positive(channel_multiplier=self.channel_multiplier)
        at_least(0, policy_gain=self.policy_gain, value_gain=self.value_gain)
        own = ["value_" + name for name in OF_VALUE]
        for name in ("conv_channels", *OF_VALUE, *own):
            for size in getattr(self, name):
                at_least(1, **{name: size})
        for name in own:
            if getattr(self, name) and self.shared_torso:
                raise ConfigError(
                    f"{name}={_words(getattr(self, name))} needs a torso of the value's own; use "
                    "shared_torso=false"
                )
        if self.network == "split" and not self.split_start:
            raise ConfigError(
                "network=split does not know where to split the vector; use for example "
                "split_start=-10 to give the last 10 numbers a perceptron of their own"
            )
        if self.network == "split":
            self._refuse("value_hidden_sizes", "mlp")
        else:
            for name in ("split_start", *own[1:]):
                self._refuse(name, "split")
        self._check_shared_layers()
        self._check_recurrent()
        at_least(0, min_std=self.min_std)
        if self.min_std >= math.exp(min(self.initial_log_std, 700.0)):
            raise ConfigError(
                f"min_std={self.min_std} is not below the first standard deviation, "
                f"e^initial_log_std with initial_log_std={self.initial_log_std}: it could not be "
                "learned; use a smaller min_std or a larger initial_log_std"
            )

    @property
    def num_shared_layers(self) -> int:
        """How many layers are shared before policy and value part; 0 where they never do."""
        return len(self.hidden_sizes) if self.shared_layers < 0 else self.shared_layers

    def _check_shared_layers(self) -> None:
        num, sizes = self.shared_layers, self.hidden_sizes
        if not num:
            return
        if self.shared_torso:
            raise ConfigError(
                f"shared_layers={num} has no effect on shared_torso=true, with which policy and "
                "value share all layers; use shared_torso=false, or leave shared_layers out"
            )
        if self.network not in ("auto", "mlp"):
            raise ConfigError(
                f"shared_layers={num} counts the layers of an mlp, not those of "
                f"network={self.network}; use network=mlp, or shared_torso=true to share all layers"
            )
        if not -1 <= num <= len(sizes) or not sizes:
            raise ConfigError(
                f"shared_layers={num} is not possible with the {len(sizes)} layers of "
                f"hidden_sizes={_words(sizes)}; use 1 to {len(sizes)}, or -1 for all"
            )
        shared = self.num_shared_layers
        if self.value_hidden_sizes and self.value_hidden_sizes[:shared] != sizes[:shared]:
            raise ConfigError(
                f"shared_layers={num} are in both hidden_sizes={_words(sizes)} and "
                f"value_hidden_sizes={_words(self.value_hidden_sizes)}, which begin with others; "
                f"let value_hidden_sizes begin with {_words(sizes[:shared])}"
            )

    def _check_recurrent(self) -> None:
        size = self.recurrent_size
        at_least(0, recurrent_size=size)
        if size and self.recurrent == "none":
            raise ConfigError(
                f"recurrent_size={size} has no effect on recurrent=none; use recurrent=gru or "
                "recurrent=lstm, or leave it out"
            )
        if size % MULTIPLE:
            raise ConfigError(
                f"recurrent_size={size} is not a multiple of {MULTIPLE}; use for example "
                f"{size + -size % MULTIPLE}"
            )

    def _refuse(self, name: str, network: str) -> None:
        if getattr(self, name):
            raise ConfigError(
                f"{name}={_words(getattr(self, name))} has no effect on network={self.network}; "
                f"use network={network} or leave it out"
            )

    def of_value(self) -> NetworkConfig:
        """Return the settings of the value's own torso."""
        sizes: dict[str, Any] = {
            name: getattr(self, "value_" + name) or getattr(self, name) for name in OF_VALUE
        }
        return replace(self, **sizes)


def _words(value: int | tuple[int, ...]) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
