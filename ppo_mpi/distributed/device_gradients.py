"""Gradients on a GPU: summed, averaged, measured and clipped there, without waiting for it.

Reading one number of a GPU waits for all that it was told to do. So the numbers of each optimizer
step stay there, and are read together once an epoch. Nothing here needs a GPU: on a processor it
does the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.errors import IterationAbandonedError


class DeviceGradients(FlatGradients):
    """Gradients whose numbers are read once for many optimizer steps.

    A step whose gradient is not finite is noticed when they are read, and named by then.
    """

    awaited = "the GPU"

    def __init__(
        self, model: nn.Module, statistics: Sequence[str], apart: Collection[str] = ()
    ) -> None:
        super().__init__(model, statistics, apart)
        self._of_parts = [
            torch.tensor(self.is_apart, device=self.buffer.device) == which
            for which in ([False, True] if apart else [])
        ]
        """[P] bool for each part: which parameters are of it."""
        on_gpu = self.buffer.device.type == "cuda"
        self.host = torch.zeros(len(self.buffer), pin_memory=on_gpu)
        """The message where it goes through the processor's memory."""
        self._where = (1, 0)

    def add_term(self, gradients: Sequence[Tensor | None], sums: Tensor, num_samples: int) -> None:
        """Add the gradient and the statistics of some samples, as ``FlatGradients.add_term``."""
        known = [
            (parameter.grad, gradient)
            for parameter, gradient in zip(self.parameters, gradients, strict=True)
            if parameter.grad is not None and gradient is not None
        ]
        torch._foreach_add_(*map(list, zip(*known, strict=True)))
        self.add_statistics(sums, num_samples)

    def add_statistics(self, sums: Tensor, num_samples: int) -> None:
        """Add one microbatch's statistics, [S] float32 summed over its ``num_samples``."""
        # An assignment to one element would be a copy from the processor's memory.
        self.buffer[self.num_gradients : -2].add_(sums)
        self.buffer[-1:].add_(num_samples)

    def vote_to_stop(self, stop: bool) -> None:
        """Let this rank's wish to end the iteration at once ride in the message."""
        self.buffer[-2:-1].fill_(float(stop))

    def message(self) -> Tensor:
        """Return what the ranks add up, in the processor's memory. Waits for the device."""
        self.host.copy_(self.buffer)
        return self.host

    def received(self) -> None:
        """Take the job's sums from the processor's memory."""
        self.buffer.copy_(self.host, non_blocking=True)

    def average(self, world_size: int, iteration: int) -> dict[str, Any]:
        """Turn the job's sums into means, in place.

        Args:
            world_size: of the job, for a later error.
            iteration: the one in flight, counted from 1; likewise.

        Returns:
            nothing yet: ``read`` has the statistics.
        """
        self._where = (world_size, iteration)
        self.buffer[:-2].div_(self.buffer[-1:])
        return {}

    @torch.no_grad()
    def clip_norm(self, max_norm: float) -> Any:
        """Scale the gradient, or each part of it, down to ``max_norm`` if longer (0 = never).

        Returns:
            the step's numbers where they are, [S + 3 + P] float32, for ``read``: statistics,
            votes, number of samples, norm before, norm of each of P parameters.
        """
        # Of all parameters at once; one that is not finite has a norm that is not.
        own = [p.grad for p in self.parameters if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(own))
        norm = torch.linalg.vector_norm(norms)[None]
        for which, part in zip(self._of_parts, self.parts, strict=True) if max_norm > 0 else ():
            # Not norms[which]: its size would have to be read.
            length = torch.linalg.vector_norm(torch.where(which, norms, 0.0))
            torch._foreach_mul_(part, (max_norm / (length + 1e-6)).clamp(max=1.0))
        if max_norm > 0 and not self.parts:
            self.gradients.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        return torch.cat([self.buffer[self.num_gradients :], norm, norms])

    def read(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
        """Return the numbers of several steps, the same on all ranks. Waits for the device.

        Args:
            rows: what each step gave, with ``gradient_norm`` by ``clip_norm``.

        Raises:
            IterationAbandonedError: a rank was told to stop, too long ago to go on; on all.
            NonFiniteError: a gradient was not finite; on all, as the mean is the same there.
        """
        table = torch.stack([row["gradient_norm"] for row in rows]).cpu()
        num = len(self.statistics)
        if table[:, num].any():
            raise IterationAbandonedError("a signal to stop came during the update")
        for row in table:
            norms = row[num + 3 :]
            if not norms.isfinite().all():
                names = [self.names[i] for i in (~norms.isfinite()).nonzero()[:, 0].tolist()]
                raise self.not_finite(names, *self._where)
        return [
            dict(zip(self.statistics, row[:num], strict=True))
            | {"num_samples": row[num + 1], "gradient_norm": row[num + 2]}
            for row in table.double().tolist()
        ]
