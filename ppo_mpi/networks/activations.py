"""What each layer of a model gives, by name.

Axes: N samples; A action size; F features; C, H, W image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ppo_mpi.networks.impala import Impala
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.networks.nature import Nature
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.networks.split import Split

if TYPE_CHECKING:
    from ppo_mpi.networks.actor_critic import ActorCritic


def mlp_layers(mlp: Mlp, x: Tensor) -> list[Tensor]:
    """Return what each layer gives, its activation included; the last are the features.

    Args:
        mlp: with L layers.
        x: [N, ...].

    Returns:
        L tensors [N, F]; gradients go through them as through the whole.
    """
    found, x = [], x.flatten(1)
    layers = list(mlp.layers)
    for i in range(0, len(layers), 2):
        for layer in layers[i : i + 2]:
            x = layer(x)
        found.append(x)
    return found


def torso_layers(torso: nn.Module, inputs: Any) -> dict[str, Tensor]:
    """Return what the layers of any torso give, by their number or name, without gradients.

    A block of Impala counts as one layer, before the ReLU that is behind its last one. Layers that
    nothing is known of are left out; "last" then stands for the features.
    """
    if isinstance(torso, Mlp):
        found = mlp_layers(torso, inputs)
    elif isinstance(torso, Split):
        vectors = inputs.flatten(1)
        branches = zip(("left", "right"), (torso.left, torso.right), strict=True)
        named: dict[str, Tensor] = {}
        ends = []
        for (name, branch), part in zip(branches, torso.parts(vectors), strict=True):
            own = mlp_layers(branch, part)
            named |= {f"{name}.{i}": x for i, x in enumerate(own, 1)}
            ends.append(own[-1] if own else part)
        joint = mlp_layers(torso.joint, torch.cat(ends, 1))
        return named | {f"joint.{i}": x for i, x in enumerate(joint, 1)}
    elif isinstance(torso, Nature):
        found = [*_after_each(torso.convolutions, inputs, 2), torso(inputs)]
    elif isinstance(torso, Impala):
        found = [*_after_each(torso.blocks, inputs, 4), torso(inputs)]
    else:
        return {"last": torso(inputs)}
    return {str(i): x for i, x in enumerate(found, 1)}


def _after_each(modules: nn.Sequential, x: Tensor, size: int) -> list[Tensor]:
    """Return what comes out behind every ``size`` modules."""
    found = []
    for i in range(0, len(modules), size):
        for module in list(modules)[i : i + size]:
            x = module(x)
        found.append(x.clone())  # what follows may work in place
    return found


def activations_of(
    model: ActorCritic, obs: Tensor, sequences: Sequences | None
) -> dict[str, Tensor]:
    """Return what ``ActorCritic.activations`` says."""
    low_precision = model.precision != torch.float32
    found: dict[str, Tensor] = {}
    with torch.autocast(obs.device.type, model.precision, enabled=low_precision):
        inputs = model.prepare(obs)
        parts: list[tuple[str, nn.Module]] = [("shared", model.torso)]
        if model.trunk is not None:
            found |= _named("shared", torso_layers(model.trunk, inputs))
            inputs = model.trunk(inputs)
        if model.value_torso is not None:
            parts = [("policy", model.torso), ("value", model.value_torso)]
        for side, torso in parts:
            found |= _named(side, torso_layers(torso, inputs))
    found = {name: x.float() for name, x in found.items()}
    features, value_features = model.features(obs)
    if model.recurrent is not None:
        assert sequences is not None, "a model that remembers is told what follows what"
        features, value_features = model.remembered(features, value_features, sequences)[:2]
        found |= {f"{parts[0][0]}.memory": features}
        if model.value_recurrent is not None:
            found |= {"value.memory": value_features}
    outputs, values = model.policy_head(features), model.value_head(value_features)[:, 0]
    behind_all = {"shared": features, "policy": features, "value": value_features}
    if model.trunk is not None:
        behind_all["shared"] = found[f"shared.{len(model.trunk.linears)}"]
    found |= {"policy": outputs, "value": values}
    for head, layer in zip(model.heads, model.auxiliary_heads, strict=True):
        place = behind_all[head.side] if head.depth is None else found[f"{head.side}.{head.depth}"]
        found[f"auxiliary.{head.name}"] = layer(place)
    return found


def _named(side: str, layers: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{side}.{name}": x for name, x in layers.items()}
