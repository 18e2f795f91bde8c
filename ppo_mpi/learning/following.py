"""What followed each observation of a rollout, for models that look at transitions.

Axes: T steps; B environments on this rank; N samples; K ends of episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Following:
    """The observation behind each of a rollout's, before any reset, where it is known.

    Most of them are the rollout's own next ones, so only the others are kept.
    """

    obs: Tensor
    """[T, B, ...] the rollout's."""
    others: Tensor
    """[B + K, ...] what followed the last step, then the last observations of K episodes."""
    rows: Tensor
    """[T, B] int64, position in [T * B], or behind that in ``others``; 0 where not known."""
    known: Tensor
    """[T, B] bool, in the processor's memory."""
    ended: Tensor
    """[T, B] bool, likewise: where episodes ended, not where only a life was lost."""
    reported: Tensor
    """[T, B] bool, likewise: those of them that count, not where an environment was made anew."""

    def take(self, samples: Tensor) -> Tensor:
        """Return what followed samples [N] int64, positions in [T * B]: [N, ...]."""
        flat = self.obs.flatten(0, 1)
        rows = self.rows.flatten()[samples]
        inside = rows < len(flat)
        own = flat[rows.clamp(max=len(flat) - 1)]
        other = self.others[(rows - len(flat)).clamp(min=0)]
        return torch.where(inside.view(-1, *[1] * (own.dim() - 1)), own, other)


def following(
    obs: Tensor,
    present: Tensor,
    ended: Tensor,
    ends: Sequence[tuple[int, int]],
    last: Tensor,
    dropped: Sequence[tuple[int, int]] = (),
) -> Following:
    """Say what followed each observation of a rollout.

    Args:
        obs: [T, B, ...].
        present: [B, ...] what the environments show now.
        ended: [T, B] bool, where an episode ended.
        ends: step and slot of K of them, whose last observation is known.
        last: [K, ...] these.
        dropped: step and slot of the ends at which environments were made anew.
    """
    steps, slots = ended.shape
    rows = (torch.arange(steps * slots) + slots).view(steps, slots)  # the last: those of ``others``
    known = ~ended
    for i, (step, slot) in enumerate(ends):
        rows[step, slot] = steps * slots + slots + i
        known[step, slot] = True
    rows[~known] = 0
    reported = ended.clone()
    for place in dropped:
        reported[place] = False
    others = torch.cat([present, last])
    return Following(obs, others, rows.to(obs.device), known, ended, reported)
