"""What environments tell of a rollout beside observations and rewards: truths and bonus rewards.

Axes: T steps; B environments on this rank; N samples; H heads; W numbers of all truths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.learning.transition import Place, Transition
from ppo_mpi.settings.heads import Head


@dataclass(frozen=True)
class Truths:
    """What is true of observations."""

    values: Tensor
    """[..., W] float32: the heads' numbers behind each other, a class as its number; NaN where it
    is not known."""
    weights: Tensor
    """[..., H] float32: how much a sample counts for each head; 0 where the truth is not known, and
    1 on average over the samples of the job's rollout."""

    def of(self, samples: Tensor) -> Truths:
        """Return those of samples [N] int64, positions in [T * B]."""
        found = (x.flatten(0, 1)[samples.to(x.device)] for x in (self.values, self.weights))
        return Truths(*found)


class ToldKeeper:
    """Keeps what the environments tell in a rollout, in the same memory each time."""

    def __init__(self, shape: tuple[int, int], heads: Sequence[Head], device: torch.device) -> None:
        """Make room.

        Args:
            shape: [T, B].
            heads: whose truths are kept; may be none.
            device: where samples are learned from.
        """
        self.truths = None
        if heads:
            sizes = sum(head.width for head in heads), len(heads)
            values, weights = (torch.zeros(*shape, size, device=device) for size in sizes)
            self.truths = Truths(values, weights)
        self._bonus = np.zeros(shape, np.float32)
        self._has_bonus = False

    def note(self, place: Place, transition: Transition) -> None:
        """Take a step of some slots."""
        if self.truths is not None and transition.truths is not None:
            self.truths.values[place] = torch.from_numpy(transition.truths).to(
                self.truths.values.device
            )
        if transition.result.bonus is not None:
            self._bonus[place] = transition.result.bonus
            self._has_bonus = True

    @property
    def bonus(self) -> np.ndarray | None:
        """[T, B] float32; None if nobody asked for bonus rewards."""
        return self._bonus if self._has_bonus else None
