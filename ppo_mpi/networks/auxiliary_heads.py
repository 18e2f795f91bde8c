"""Heads that learn truths of the environment, behind a layer of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.initialization import initialize_head
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.settings.heads import Head

if TYPE_CHECKING:
    from ppo_mpi.networks.actor_critic import ActorCritic


def make_heads(model: ActorCritic, heads: Sequence[Head], initialization: str) -> nn.ModuleList:
    """Make a linear layer for each head, behind its layer of the model.

    Args:
        model: complete but for them.
        heads: what they are, each with its side.
        initialization: of the torso; heads follow it as the others do.

    Raises:
        ConfigError: the model has no such layer.
    """
    made = nn.ModuleList()
    for head in heads:
        layer = AlignedLinear(_num_features(model, head), head.size)
        initialize_head(layer, initialization, 1.0)
        made.append(layer)
    return made


def _num_features(model: ActorCritic, head: Head) -> int:
    side = head.side
    whose = f"the auxiliary head {head.name} is to sit on the side {side!r}, but"
    if side == "shared":
        parts = [model.torso, model.recurrent] if model.value_torso is None else [model.trunk]
        if parts == [None]:
            raise ConfigError(
                f"{whose} policy and value share no layer; use @policy or @value, "
                "shared_torso=true, or shared_layers"
            )
    elif model.value_torso is None:
        raise ConfigError(
            f"{whose} policy and value share all layers; use @shared, or shared_torso=false"
        )
    elif side == "policy":
        parts = [model.torso, model.recurrent]
    else:
        parts = [model.value_torso, model.value_recurrent]
    torso = parts[0]
    if head.depth is None:
        return int([part for part in parts if part is not None][-1].feature_size)
    if type(torso) is not Mlp:
        raise ConfigError(
            f"{whose} only the layers of an mlp are counted, and this one is a "
            f"{type(torso).__name__}; leave out .{head.depth}, and the head sits behind all of it"
        )
    if head.depth > len(torso.linears):
        raise ConfigError(
            f"{whose} there are {len(torso.linears)} layers and it names layer {head.depth}; use "
            "one that there is, or leave it out"
        )
    return torso.linears[head.depth - 1].out_features


def answers(
    heads: Sequence[Head], layers: nn.ModuleList, found: Mapping[str, Sequence[Tensor]]
) -> list[Tensor]:
    """Return what each head gives, [N, size] float32.

    Args:
        heads: what they are.
        layers: their parameters, in order.
        found: side -> what its layers give, [N, F] float32 each, and last what all of it gives.
    """
    return [
        layer(found[head.side][-1 if head.depth is None else head.depth - 1])
        for head, layer in zip(heads, layers, strict=True)
    ]
