"""Whole, raw returns of episodes, whatever the rollouts' length.

Axes: B environments on this rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import StepResult
from ppo_mpi.storage.logger import EpisodeRecord


class EpisodeTracker:
    """Adds up raw rewards until an episode ends; carries unfinished ones over rollouts."""

    def __init__(self, indices: Sequence[int], split: Literal["train", "test"]) -> None:
        """Start with fresh episodes.

        Args:
            indices: whole-job index of each slot's environment.
            split: ``"train"`` or ``"test"``.
        """
        self.indices = tuple(indices)
        self.split = split
        self.returns = np.zeros(len(indices))
        self.lengths = np.zeros(len(indices), np.int64)

    def add(
        self, result: StepResult, iteration: int, slots: slice = slice(None)
    ) -> list[EpisodeRecord]:
        """Take in one step of some slots; return the episodes that it ended.

        Args:
            result: of them.
            iteration: counted from 1, for the records.
            slots: which they are.
        """
        self.returns[slots] += result.rewards
        self.lengths[slots] += 1
        first = slots.start or 0
        ended = np.flatnonzero(result.terminated | result.truncated)
        records = [
            EpisodeRecord(
                iteration=iteration,
                split=self.split,
                env=self.indices[first + row],
                level=int(result.levels[row]),
                episode_return=float(self.returns[first + row]),
                length=int(self.lengths[first + row]),
            )
            for row in ended
            if first + row not in result.dropped
        ]
        self.forget(first + ended)
        return records

    def forget(self, slots: Sequence[int] | np.ndarray) -> None:
        """Start these slots' episodes anew."""
        self.returns[slots] = 0.0
        self.lengths[slots] = 0

    def state_dict(self) -> dict[str, list[float]]:
        """Return whole-job index -> [return so far, length so far], for JSON."""
        return {
            str(index): [float(total), int(length)]
            for index, total, length in zip(self.indices, self.returns, self.lengths, strict=True)
        }

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Put back the entries of this rank's environments."""
        for slot, index in enumerate(self.indices):
            self.returns[slot], self.lengths[slot] = state[str(index)]


def gather_episodes(own: list[EpisodeRecord], comm: Communicator) -> list[EpisodeRecord]:
    """Return the job's episodes of a rollout on rank 0, sorted; [] elsewhere. Collective.

    Within one environment the order of time is kept, so that the list is the same however the
    environments are sharded.

    Args:
        own: this rank's, in the order in which they ended.
        comm: the job.
    """
    gathered = comm.gather_objects(own)  # collective
    if gathered is None:
        return []
    records = [record for part in gathered for record in part]
    return sorted(records, key=lambda r: (r.split != "train", r.env))  # a stable sort
