"""What the layers of a model give, by name.

Axes: N samples; K sequences; S numbers of a memory.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.recurrent import Sequences


def layer_names(model: ActorCritic, patterns: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the layers, in the order of ``named_modules``.

    Args:
        model: who has them.
        patterns: names, or patterns such as ``torso.*``; empty = all.

    Raises:
        ConfigError: no layer has such a name.
    """
    hidden = (model.policy, model.value_scale)
    names = [
        name
        for name, module in model.named_modules()
        if name
        and not isinstance(module, nn.Sequential | nn.ModuleList)
        and module not in hidden
        # The layers inside of one that remembers are called with sequences, not with samples.
        and not name.endswith("recurrent.layer")
    ]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"activation_layers={pattern} is no layer of this agent; it has {', '.join(names)}"
            )
    if not patterns:
        return names
    return [name for name in names if any(fnmatchcase(name, own) for own in patterns)]


@torch.no_grad()
def activations(
    model: ActorCritic,
    obs: Tensor,
    sequences: Sequences | None = None,
    patterns: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Return what the layers give for observations, before any later layer changes it in place.

    Args:
        model: who sees them.
        obs: [N, ...], as in ``ActorCritic.outputs``.
        sequences: of a model that remembers.
        patterns: of the layers' names; empty = all.

    Returns:
        layer -> [N, ...]. Images are [N, C, H, W].

    Raises:
        ConfigError: no layer has such a name.
    """
    found: dict[str, Tensor] = {}

    def kept(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            found[name] = output.detach().clone()

        return hook

    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(kept(name)) for name in layer_names(model, patterns)
    ]
    try:
        model.outputs(obs, sequences)
    finally:
        for handle in handles:
            handle.remove()
    return found
