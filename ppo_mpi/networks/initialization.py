"""Initial weights by name."""

from __future__ import annotations

import math

from torch import nn

SQRT_2 = math.sqrt(2)


def initialize(module: nn.Module, how: str, gain: float) -> None:
    """Set the weights of every linear and convolution layer in ``module``; biases become 0.

    Args:
        module: changed in place.
        how: ``"xavier_uniform"`` (Glorot and Bengio 2010) or ``"orthogonal"`` (Saxe et al. 2014,
            arXiv:1312.6120).
        gain: factor on the weights.
    """
    fill = {"xavier_uniform": nn.init.xavier_uniform_, "orthogonal": nn.init.orthogonal_}[how]
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            fill(layer.weight, gain=gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialize_torso(module: nn.Module, how: str) -> None:
    """Initialize a torso: xavier_uniform has gain 1, orthogonal the gain sqrt 2 of ReLU layers."""
    initialize(module, how, 1.0 if how == "xavier_uniform" else SQRT_2)
