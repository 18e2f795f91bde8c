"""Advantages and value targets.

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
        truncated: [T, B] bool; or all ends of segments, by ``segment_ends``.
        discount: gamma in [0, 1].
        gae_lambda: lambda in [0, 1]; with 1 the targets are ``rewards_to_go`` without bounds, of
            segments too, and the advantages are those minus the values: what other systems call
            not using GAE.

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


def segment_ends(terminated: Tensor, truncated: Tensor, max_steps: int) -> Tensor:
    """Return where segments end: where episodes do, and after so many steps within one.

    Steps count from the beginning of the rollout or of the episode, whichever was later, and
    anew behind each end. The end of the rollout is not marked: nothing follows there.

    Args:
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        max_steps: of a segment; 0 = no limit.

    Returns:
        [T, B] bool.

    Source:
        max_ts_per_ep of "PPO And Friends".
    """
    ends = terminated | truncated
    if not max_steps:
        return ends
    steps = torch.zeros(ends.shape[1], dtype=torch.int64)
    for own in ends:
        steps += 1
        own |= steps == max_steps
        steps[own] = 0
    return ends


def rewards_to_go(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ends: Tensor,
    discount: float,
    bounds: tuple[float, float] | None,
) -> Tensor:
    """Compute value targets from a segment's own rewards and one value behind its end.

        G[t] = sum over k < n of discount^k * r[t + k]  +  discount^n * clip(V, low, high)

    n steps are left to the segment's end or the rollout's, and V is the value of what followed;
    0 where that step terminated. The bounds concern nothing else: advantages bootstrap without.

    Args:
        rewards: [T, B] float32.
        next_values: [T, B] float32, V of the observation that followed, before any reset.
        terminated: [T, B] bool.
        ends: [T, B] bool, by ``segment_ends``.
        discount: gamma in [0, 1].
        bounds: low and high, in the unit of the values; None for none.

    Returns:
        [T, B] float32.

    Source:
        the critic's target and bootstrap_clip of "PPO And Friends"; it takes the end of a time
        limit for a death, which we do not.
    """
    values = next_values if bounds is None else next_values.clamp(*bounds)
    values = torch.where(terminated, 0.0, values)
    targets = torch.empty_like(rewards)
    running = values[-1]
    for t in reversed(range(len(rewards))):
        running = rewards[t] + discount * torch.where(ends[t], values[t], running)
        targets[t] = running
    return targets
