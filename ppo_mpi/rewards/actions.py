"""Actions as inputs and as targets of a reward model, for each kind of action space.

Axes: N samples; A numbers of an action; K outputs of an inverse model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.envs.base import ActionSpec, Box, Composite, Discrete, MultiBinary
from ppo_mpi.envs.spaces import num_columns


def action_size(spec: ActionSpec) -> int:
    """Return how many numbers ``action_features`` makes of an action, and K."""
    return spec.num_outputs  # of the policy too: a number for each choice, switch or real number


def action_features(spec: ActionSpec, actions: Tensor) -> Tensor:
    """Return actions as a network takes them.

    Args:
        spec: their space.
        actions: [N, ...] as the environments were given them, of the space's shape and dtype.

    Returns:
        [N, K] float32: one-hot for each choice, 0 or 1 for switches, and real numbers within
        their bounds (what lies beyond them changes nothing, so it can neither be guessed nor help
        to); those of the parts of a composite space side by side.
    """
    if isinstance(spec, Discrete):
        return F.one_hot(actions, spec.num_actions).float()
    if isinstance(spec, Composite):
        own = _split_columns(spec, actions)
        features = [action_features(part, x) for part, x in zip(spec.parts, own, strict=True)]
        return torch.cat(features, 1)
    if isinstance(spec, MultiBinary):
        return actions.float()
    if isinstance(spec, Box):
        low, high = (torch.tensor(bound, device=actions.device) for bound in (spec.low, spec.high))
        return torch.minimum(torch.maximum(actions, low), high)
    choices = zip(actions.unbind(1), spec.nums, strict=True)
    return torch.cat([F.one_hot(x, num).float() for x, num in choices], 1)


def inverse_loss(spec: ActionSpec, outputs: Tensor, actions: Tensor) -> Tensor:
    """Return how wrong an inverse model's guesses are, [N] float32.

    Args:
        spec: the actions' space.
        outputs: [N, K] float32: logits, or the guessed numbers.
        actions: [N, ...] as in ``action_features``.

    Returns:
        the cross-entropy in nats of choices and switches, summed over those of one action; the
        mean squared error of real numbers; of a composite space the sum over its parts.
    """
    if isinstance(spec, Discrete):
        return F.cross_entropy(outputs, actions, reduction="none")
    if isinstance(spec, Composite):
        guesses = outputs.split([part.num_outputs for part in spec.parts], 1)
        own = _split_columns(spec, actions)
        losses = [inverse_loss(*three) for three in zip(spec.parts, guesses, own, strict=True)]
        return torch.stack(losses).sum(0)
    if isinstance(spec, MultiBinary):
        own_loss = F.binary_cross_entropy_with_logits(outputs, actions.float(), reduction="none")
        return own_loss.sum(-1)
    if isinstance(spec, Box):
        return ((outputs - action_features(spec, actions)) ** 2).mean(-1)
    choices = zip(outputs.split(spec.nums, 1), actions.unbind(1), strict=True)
    return torch.stack([F.cross_entropy(y, x, reduction="none") for y, x in choices]).sum(0)


def _split_columns(spec: Composite, actions: Tensor) -> list[Tensor]:
    """Return each part's actions, of its own shape and dtype, from columns [N, K] float32."""
    columns = actions.split([num_columns(part) for part in spec.parts], 1)
    return [
        x.reshape(len(x), *part.action_shape).to(getattr(torch, part.dtype))
        for part, x in zip(spec.parts, columns, strict=True)
    ]
