"""Initial weights by name.

Axes: K inputs and A outputs of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

SQRT_2 = math.sqrt(2)


def initialize(module: nn.Module, how: str, gain: float) -> None:
    """Set the weights of every linear and convolution layer in ``module``; biases become 0.

    Args:
        module: changed in place.
        how: ``"xavier_uniform"`` (Glorot and Bengio 2010), ``"orthogonal"`` (Saxe et al. 2014,
            arXiv:1312.6120), or ``"normc"``: xavier_uniform for convolutions, ``normc`` for the
            rest.
        gain: factor on the weights.
    """
    fills: dict[str, tuple[Callable[..., object], Callable[..., object]]] = {
        "xavier_uniform": (nn.init.xavier_uniform_, nn.init.xavier_uniform_),
        "orthogonal": (nn.init.orthogonal_, nn.init.orthogonal_),
        "normc": (normc, nn.init.xavier_uniform_),
    }
    fill_linear, fill_kernel = fills[how]
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            fill = fill_linear if isinstance(layer, nn.Linear) else fill_kernel
            fill(layer.weight, gain=gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def normc(weight: Tensor, gain: float) -> None:
    """Draw weights [A, K] from N(0, 1) and give each output's, a row, the norm ``gain``.

    Source:
        The column-normalized weights of OpenAI's baselines, where outputs are columns.
    """
    weight.normal_()
    weight.mul_(gain / weight.norm(dim=1, keepdim=True))


def initialize_torso(module: nn.Module, how: str) -> None:
    """Initialize a torso: orthogonal has the gain sqrt 2 of ReLU layers, the others 1."""
    initialize(module, how, SQRT_2 if how == "orthogonal" else 1.0)


def initialize_head(head: nn.Module, how: str, gain: float) -> None:
    """Initialize a head: orthogonal, unless ``how`` the torso is initialized is normc."""
    initialize(head, "normc" if how == "normc" else "orthogonal", gain)
