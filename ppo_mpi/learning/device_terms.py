"""Gradients of microbatches on a GPU: gathered, computed and added up there.

Axes: T steps; B environments on this rank; N samples of a microbatch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.learning.recording import Recording, recording_stream
from ppo_mpi.learning.rollout import Batch, Minibatch, microbatches

MOST_SIZES = 4
"""Sizes of microbatches that are recorded; shares of minibatches differ by one at most."""


class DeviceTerms:
    """Adds the gradients of samples that are named by their positions in a rollout.

    What a microbatch of one size does is recorded once, for a rollout that always lies in the
    same memory.
    """

    def __init__(
        self,
        loss: Callable[[Minibatch, Tensor, Tensor], tuple[Tensor, Tensor]],
        gradients: FlatGradients,
        record: bool,
    ) -> None:
        """Record nothing yet.

        Args:
            loss: (minibatch, clip range [], entropy coefficient []) -> the loss and the metrics,
                summed over its samples.
            gradients: to which the terms are added.
            record: whether to record at all.
        """
        self._loss = loss
        self._gradients = gradients
        self._record = record
        self._batch: Batch | None = None
        device = gradients.buffer.device
        # In memory, as a schedule may change them from iteration to iteration.
        self._clip_range = torch.zeros((), device=device)
        self._entropy_coef = torch.zeros((), device=device)
        self._recordings: dict[int, tuple[Recording, Tensor]] = {}
        self._stream = recording_stream(device)
        self._pool: Any = None

    def hold(self, batch: Batch, clip_range: float, entropy_coef: float) -> Batch:
        """Take an iteration's batch; return it as it lies in memory.

        What was recorded is for the memory of its rollout: another begins anew.

        Args:
            batch: [T, B] on the device; its rollout's tensors are always the same ones.
            clip_range: of the probability ratio, in this iteration.
            entropy_coef: weight of the entropy bonus, likewise.
        """
        known = self._batch
        same = known is not None and known.rollout.obs is batch.rollout.obs
        if known is None or not same:
            # The rollout's memory is its collector's; these are new in each iteration.
            known = Batch(batch.rollout, batch.advantages.clone(), batch.returns.clone())
            self._recordings.clear()
            # One that all recordings have left cannot be used again.
            self._pool = torch.cuda.graph_pool_handle() if self._stream is not None else None
        # What lies in the processor's memory, as where episodes begin, is new each time.
        known = self._batch = replace(known, rollout=batch.rollout)
        self._clip_range.fill_(clip_range)
        self._entropy_coef.fill_(entropy_coef)
        known.advantages.copy_(batch.advantages)
        known.returns.copy_(batch.returns)
        return known

    def prepare(self, pieces: Sequence[Tensor]) -> None:
        """Record what microbatches of these sizes do. Changes the gradients.

        Args:
            pieces: positions [N] int64 in [T * B], on the device.
        """
        for piece in pieces:
            num = len(piece)
            if self._record and num not in self._recordings and len(self._recordings) < MOST_SIZES:
                index = piece.clone()
                recording = Recording(
                    lambda index=index: self._add(index),  # type: ignore[misc]
                    self._stream,
                    self._pool,
                )
                self._recordings[num] = recording, index

    def add(self, piece: Tensor) -> None:
        """Add the gradients of the samples [N] at these positions."""
        if len(piece) in self._recordings:
            recording, index = self._recordings[len(piece)]
            index.copy_(piece)
            recording()
        else:
            self._add(piece)

    def _add(self, piece: Tensor) -> tuple[Tensor, ...]:
        assert self._batch is not None, "hold() comes first"
        (minibatch,) = microbatches(self._batch, piece, 0)
        loss, sums = self._loss(minibatch, self._clip_range, self._entropy_coef)
        # Not backward(): its way of adding to .grad has streams of its own.
        own = torch.autograd.grad(loss, self._gradients.parameters, allow_unused=True)
        self._gradients.add_term(own, sums, len(piece))
        return (sums,)
