"""Actions as inputs and as targets of a reward model, for each kind of action space.

Axes: N samples; A numbers of an action; K outputs of an inverse model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.envs.base import ActionSpec, Discrete


def action_size(spec: ActionSpec) -> int:
    """Return how many numbers ``action_features`` makes of an action, and K."""
    return spec.num_actions if isinstance(spec, Discrete) else len(spec.low)


def action_features(spec: ActionSpec, actions: Tensor) -> Tensor:
    """Return actions as a network takes them.

    Args:
        spec: their space.
        actions: [N] int64, or [N, A] float32 as sampled.

    Returns:
        [N, K] float32: one-hot, or the numbers that the environment was given, within its bounds
        (what lies beyond them changes nothing, so it can neither be guessed nor help to).
    """
    if isinstance(spec, Discrete):
        return F.one_hot(actions, spec.num_actions).float()
    low, high = (torch.tensor(bound, device=actions.device) for bound in (spec.low, spec.high))
    return torch.minimum(torch.maximum(actions, low), high)


def inverse_loss(spec: ActionSpec, outputs: Tensor, actions: Tensor) -> Tensor:
    """Return how wrong an inverse model's guesses are, [N] float32.

    Args:
        spec: the actions' space.
        outputs: [N, K] float32: logits, or the guessed numbers.
        actions: [N] int64, or [N, A] float32 as sampled.

    Returns:
        the cross-entropy in nats of discrete actions; the mean squared error of continuous ones.
    """
    if isinstance(spec, Discrete):
        return F.cross_entropy(outputs, actions, reduction="none")
    return ((outputs - action_features(spec, actions)) ** 2).mean(-1)
