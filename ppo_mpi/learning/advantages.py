"""Advantage estimation.

Axes: T steps; B environments.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    discount: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Compute generalized advantage estimates and value targets.

        delta[t] = r[t] + discount * next_values[t] * (1 - terminated[t]) - values[t]
        A[t] = delta[t] + discount * gae_lambda * (1 - terminated[t]) * (1 - truncated[t]) * A[t+1]

    A terminated step has no future; a truncated one has the value of its true next observation,
    but no further terms, as the step after it belongs to another episode.

    Args:
        rewards: [T, B] float32.
        values: [T, B] float32, V(obs[t]).
        next_values: [T, B] float32, V of the observation that followed, before any reset; read
            only where the step did not terminate.
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        discount: gamma in [0, 1].
        gae_lambda: lambda in [0, 1]; with 1 the targets are discounted returns.

    Returns:
        advantages and returns (``advantages + values``), [T, B] float32 each.

    Source:
        Schulman et al. 2016, arXiv:1506.02438, eq. 16; the treatment of time limits follows
        Pardo et al. 2018, arXiv:1712.00378.
    """
    alive = (~terminated).float()
    deltas = rewards + discount * torch.where(terminated, 0.0, next_values) - values
    decay = discount * gae_lambda * alive * (~truncated).float()
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        running = deltas[t] + decay[t] * running
        advantages[t] = running
    return advantages, advantages + values
