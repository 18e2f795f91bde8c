"""Bonus rewards by episode: summed up apart, never part of the returns that are reported.

Axes: T steps; B environments on this rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ppo_mpi.distributed.communicator import Communicator


class BonusReturns:
    """Sums of bonus rewards over whole episodes, whatever the rollouts' length."""

    def __init__(self, indices: Sequence[int]) -> None:
        """Begin with nothing.

        Args:
            indices: whole-job index of each slot's environment.
        """
        self.indices = tuple(indices)
        self.running = np.zeros(len(self.indices))
        """[B] of the episodes that are not over."""

    def mean_of(
        self,
        bonus: np.ndarray,
        ended: np.ndarray,
        dropped: Sequence[tuple[int, int]],
        continue_episodes: bool,
        comm: Communicator,
    ) -> float:
        """Take a rollout in; return the mean over the job's episodes that ended in it. Collective.

        Args:
            bonus: [T, B] float32, this rank's.
            ended: [T, B] bool, where episodes ended, not where only a life was lost.
            dropped: step and slot of ends that do not count: the environment was made anew.
            continue_episodes: whether the rollout went on with the episodes of the last one.
            comm: the job.

        Returns:
            NaN if none ended.
        """
        if not continue_episodes:
            self.running[:] = 0.0
        counts = ended.copy()
        for place in dropped:
            counts[place] = False
        sums: list[float] = []
        for now, over, is_counted in zip(bonus, ended, counts, strict=True):
            self.running += now
            sums += self.running[is_counted].tolist()
            self.running[over] = 0.0
        total = float(comm.exact_sum(np.array([sums], np.float64))[0])  # collective
        number = int(comm.sum(np.array([len(sums)]))[0])  # collective
        return total / number if number else math.nan

    def entries(self) -> dict[str, float]:
        """Return whole-job index -> the running sum, for a checkpoint."""
        return {str(i): x for i, x in zip(self.indices, self.running.tolist(), strict=True)}

    def load_entries(self, saved: Mapping[str, float], fresh: Sequence[int]) -> None:
        """Put back this rank's entries; those of slots that begin afresh are 0."""
        self.running[:] = [saved[str(index)] for index in self.indices]
        self.running[list(fresh)] = 0.0
