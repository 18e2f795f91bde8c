"""Which transform the next update uses: an upper confidence bound over what the others brought.

Axes: F transforms; K returns of each that count.
"""

from __future__ import annotations

import math

import numpy as np

from ppo_mpi.errors import CheckpointError


class AugmentationChoice:
    """Chooses among F transforms, by numbers that all ranks share.

        f = argmax Q(f) + c sqrt(log(t) / N(f))

    Q(f) is the mean of the last K returns that followed an update with f; N(f) is how many updates
    used it, t how many there were. A transform that was never used comes first, in order.

    Source:
        Raileanu et al. 2021, arXiv:2006.12862, section 4 (UCB-DrAC); transforms unused first as in
        UCB1, Auer et al. 2002, "Finite-time analysis of the multiarmed bandit problem". The
        published code begins with Q = 0 and N = 1 instead: where returns are far above c, it stays
        with the first transform for ever.
    """

    def __init__(self, num: int, coef: float, window: int) -> None:
        """Begin with nothing known.

        Args:
            num: F.
            coef: c, in the unit of returns.
            window: K.
        """
        self._coef = coef
        self._counts = np.zeros(num)
        self._returns = np.zeros((num, window))
        """The n-th update with a transform stands in column n modulo K."""
        self.chosen = -1
        """The newest update's transform, whose return is not known yet; -1 before the first."""

    def choose(self, mean_return: float) -> int:
        """Return the transform for an update.

        Args:
            mean_return: of the rollout that the update is for, over the job. The policy that
                collected it came of the update before: it is that update's return.
        """
        if self.chosen >= 0:
            place = int(self._counts[self.chosen]) % self._returns.shape[1]
            self._returns[self.chosen, place] = mean_return
            self._counts[self.chosen] += 1
        unused = np.flatnonzero(self._counts == 0)
        self.chosen = int(unused[0]) if len(unused) else int(np.argmax(self.bounds()))
        return self.chosen

    def bounds(self) -> np.ndarray:
        """Return what is compared, [F] float64; all transforms have been used."""
        known = np.minimum(self._counts, self._returns.shape[1])
        # What does not count yet is 0.
        means = self._returns.sum(1) / known
        bounds: np.ndarray = means + self._coef * np.sqrt(
            math.log(self._counts.sum()) / self._counts
        )
        return bounds

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps, float64."""
        return {
            "counts": self._counts.copy(),
            "returns": self._returns.copy(),
            "chosen": np.array(self.chosen, np.float64),
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put back what ``state_dict`` gave.

        Raises:
            CheckpointError: it is of no such choice.
        """
        counts, chosen = state["counts"], float(state["chosen"])
        is_count = (counts >= 0) & (counts == np.floor(counts)) & (counts < 2**53)
        if not is_count.all() or chosen not in range(-1, len(self._counts)):
            raise CheckpointError(
                f"the choice of augmentations has counts={counts.tolist()} and chosen={chosen}, "
                "which it cannot have; use a checkpoint that was written by ppo_mpi"
            )
        self._counts[:], self._returns[:], self.chosen = counts, state["returns"], int(chosen)
