"""All gradients of a model in one flat buffer, with statistics riding behind them.

One message an optimizer step carries everything; of a large network two, as the last layers'
gradients are complete first and can travel while the others are computed. The parameters' ``.grad``
are views of the buffer, so that neither packing nor unpacking copies anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppo_mpi.errors import IterationAbandonedError, NonFiniteError

LEAST_TO_CUT = 100_000
"""Gradients below which a message is over before a second one has begun."""


class FlatGradients:
    """Gradients of ``model`` and named statistics, all summed over samples until averaged.

    Backward passes must be of losses *summed* over samples. The last number is the count of the
    samples; the communicator adds the buffers of all ranks and ``divide`` makes means of them.
    """

    awaited = ""
    """What ``read`` waits for; empty where it does not."""

    def __init__(
        self, model: nn.Module, statistics: Sequence[str], apart: Collection[str] = ()
    ) -> None:
        """Lay out the buffer; the parameters' ``.grad`` become views of it.

        Args:
            model: has the parameters.
            statistics: names.
            apart: names of the parameters whose gradient is clipped by itself, as is that of the
                others; empty = all are clipped together.
        """
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.statistics = tuple(statistics)
        self.num_gradients = sum(p.numel() for p in self.parameters)
        length = self.num_gradients + len(statistics) + 2  # and the votes, and the count
        device = self.parameters[0].device
        self.buffer = torch.zeros(length, dtype=torch.float32, device=device)
        offset = 0
        self._views: list[Tensor] = []
        self.is_apart = [name in apart for name in self.names]
        self.parts: list[list[Tensor]] = [[], []] if apart else []
        """The others' gradients and those apart, in views [P]; empty = clipped together."""
        for parameter, is_apart in zip(self.parameters, self.is_apart, strict=True):
            if self.parts:
                self.parts[is_apart].append(self.buffer[offset : offset + parameter.numel()])
            # Same strides as the parameter (channels-last weights too), or autograd would copy.
            view = torch.as_strided(self.buffer, parameter.size(), parameter.stride(), offset)
            self._views.append(view)
            offset += parameter.numel()
        self.attach()
        self._call: Callable[[], None] | None = None
        self._left = 0
        first = first_of_the_last(self.parameters)
        self._last = self.parameters[first:]
        self.cut = sum(p.numel() for p in self.parameters[:first])
        """Where the message is cut in two: what lies behind is complete first. 0 = nowhere."""
        if self.cut:
            for parameter in self._last:
                parameter.register_post_accumulate_grad_hook(self._note_complete)

    def attach(self) -> None:
        """Let the parameters' ``.grad`` be views of this buffer, after they were of another."""
        for parameter, view in zip(self.parameters, self._views, strict=True):
            parameter.grad = view

    @property
    def gradients(self) -> Tensor:
        """[P] float32, a view of all gradients."""
        return self.buffer[: self.num_gradients]

    def zero(self) -> None:
        """Forget gradients, statistics and the count."""
        self._call = None
        self.buffer.zero_()

    def call_when_complete(self, call: Callable[[], None]) -> None:
        """Say what to call in the next backward pass, the last one of an optimizer step.

        Args:
            call: once all that lies behind the cut is complete, statistics included; never if
                there is no cut, or if some of it has no gradient.
        """
        self._call, self._left = call, len(self._last)

    def _note_complete(self, _: Tensor) -> None:
        if self._call is None:
            return
        self._left -= 1
        if self._left == 0:
            call, self._call = self._call, None
            call()

    def add_statistics(self, sums: Tensor, num_samples: int) -> None:
        """Add one microbatch's statistics.

        Args:
            sums: [S] float32, each statistic summed over the samples, in the order of the names.
            num_samples: how many samples they were.
        """
        self.buffer[self.num_gradients : -2] += sums
        self.buffer[-1] += num_samples

    def add_term(self, gradients: Sequence[Tensor | None], sums: Tensor, num_samples: int) -> None:
        """Add the gradient and the statistics of some samples.

        Args:
            gradients: one for each parameter, summed over the samples; None counts as zeros.
            sums: [S] float32, each statistic summed over the samples.
            num_samples: how many samples they were.
        """
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is not None:
                assert parameter.grad is not None, "gradients are views of the buffer"
                parameter.grad += gradient
        self.add_statistics(sums, num_samples)

    def vote_to_stop(self, stop: bool) -> None:
        """Let this rank's wish to end the iteration at once ride in the message."""
        self.buffer[-2] = float(stop)

    def votes_to_stop(self) -> float:
        """Return how many ranks wish to, once the message has been added up."""
        return float(self.buffer[-2])

    @property
    def sums(self) -> Tensor:
        """What the ranks add up, where it lies."""
        return self.buffer

    def message(self) -> Tensor:
        """Return what the ranks add up, in the processor's memory."""
        return self.sums

    def messages(self) -> list[Tensor]:
        """Return the message in the pieces in which the ranks send it, the same on all of them."""
        whole = self.message()
        return [whole[self.cut :], whole[: self.cut]] if self.cut else [whole]

    def received(self) -> None:
        """Take note that the message now holds the job's sums."""

    def average(self, world_size: int, iteration: int) -> dict[str, Any]:
        """Turn the job's sums into means, in place; return the statistics' means.

        Args:
            world_size: of the job, for an error.
            iteration: the one in flight, counted from 1; likewise.

        Raises:
            IterationAbandonedError: a rank was told to stop, too long ago to go on; on all.
            NonFiniteError: the mean gradient is not finite. It is the same on all ranks, so all
                raise together and none is left waiting.
        """
        if self.votes_to_stop():
            raise IterationAbandonedError("a signal to stop came during the update")
        statistics = self.divide()
        # A sum is finite only if all its terms are: one pass, no mask.
        if not torch.isfinite(self.gradients.sum()):
            raise self.not_finite(self.non_finite(), world_size, iteration)
        return statistics

    def divide(self) -> dict[str, float]:
        """Turn the job's sums in the message into means, in place; return the statistics.

        The job's number of samples is among them, as ``num_samples``.
        """
        count = float(self.buffer[-1])
        self.buffer[:-1] /= count
        means = self.buffer[self.num_gradients : -2].double()
        return dict(zip(self.statistics, means.tolist(), strict=True)) | {"num_samples": count}

    def not_finite(self, names: Sequence[str], world_size: int, iteration: int) -> NonFiniteError:
        """Return the error for a gradient that no learning can follow.

        Args:
            names: the parameters, at least one.
            world_size: of the job.
            iteration: counted from 1.
        """
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return NonFiniteError(
            f"the gradient averaged over {world_size} rank(s) is not finite in iteration "
            f"{iteration}: {', '.join(names[:3])}{more}; lower learning_rate or max_grad_norm and "
            "start the same command again: the run goes on from its last checkpoint"
        )

    def read(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
        """Return the numbers of several optimizer steps; here they have been read already."""
        return [dict(row) for row in rows]

    def non_finite(self) -> list[str]:
        """Return the parameters whose gradient is not finite, with how many of its numbers."""
        found = []
        for name, parameter in zip(self.names, self.parameters, strict=True):
            assert parameter.grad is not None, "gradients are views of the buffer"
            number = int((~torch.isfinite(parameter.grad)).sum())
            if number:
                found.append(f"{name} ({number} of {parameter.numel()})")
        return found

    def clip_norm(self, max_norm: float) -> Any:
        """Scale the gradient, or each part of it, down to ``max_norm`` if longer (0 = never).

        Returns:
            the whole one's norm before; NaN or infinite if any gradient is.
        """
        norm = float(self.gradients.norm())
        for part in self.parts if max_norm > 0 else []:
            own = float(torch.stack(torch._foreach_norm(part)).norm())
            if own > max_norm:
                torch._foreach_mul_(part, max_norm / (own + 1e-6))
        if not self.parts and max_norm > 0 and norm > max_norm:
            self.gradients.mul_(max_norm / (norm + 1e-6))
        return norm


def first_of_the_last(parameters: Sequence[nn.Parameter]) -> int:
    """Return the first of the last parameters that hold half of all numbers; 0 if they are few."""
    total = sum(p.numel() for p in parameters)
    if total < LEAST_TO_CUT:
        return 0
    first, behind = len(parameters), 0
    while 2 * behind < total:
        first -= 1
        behind += parameters[first].numel()
    return first


HIGH_QUANTUM = 2.0**-24
LOW_QUANTUM = 2.0**-64


class ExactGradients(FlatGradients):
    """Gradients whose sum has the same bits in whatever order its terms are added.

    Each term is split into a multiple of a coarse quantum and a rest that is a multiple of a fine
    one. Sums of either are exact in float64 (up to 2**29 in all and 16,384 terms), so that
    neither the number of ranks nor their share of the terms can be seen in the result. Larger
    gradients still add up, but no more to the bit.

    Source:
        pre-rounded reproducible summation, Demmel and Nguyen 2013, "Fast reproducible
        floating-point summation", ARITH 21; two levels here.
    """

    def __init__(
        self, model: nn.Module, statistics: Sequence[str], apart: Collection[str] = ()
    ) -> None:
        super().__init__(model, statistics, apart)
        self.bins = torch.zeros(2, len(self.buffer), dtype=torch.float64)
        self.cut = 0  # numbers are summed where they lie

    def zero(self) -> None:
        """Forget all terms."""
        self.bins.zero_()

    def add_term(self, gradients: Sequence[Tensor | None], sums: Tensor, num_samples: int) -> None:
        """Add the gradient and the statistics of some samples.

        Args:
            gradients: one for each parameter, summed over the samples; None counts as zeros.
            sums: [S] float32, each statistic summed over the samples.
            num_samples: how many samples they were.
        """
        flat = torch.empty(len(self.buffer), dtype=torch.float64)
        offset = 0
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            size, stride = parameter.size(), parameter.stride()
            view = torch.as_strided(flat, size, stride, offset)
            if gradient is None:
                view.zero_()
            else:
                view.copy_(gradient)
            offset += parameter.numel()
        flat[offset:-2] = sums
        flat[-2] = 0.0
        flat[-1] = num_samples
        # Adding and taking away 1.5 * 2**52 quanta rounds to a multiple of the quantum.
        shift = 1.5 * 2.0**52
        high = (flat + shift * HIGH_QUANTUM).sub_(shift * HIGH_QUANTUM)
        rest = flat.sub_(high).add_(shift * LOW_QUANTUM).sub_(shift * LOW_QUANTUM)
        self.bins[0] += high
        self.bins[1] += rest

    def vote_to_stop(self, stop: bool) -> None:
        """Let this rank's wish to end the iteration at once ride in the message."""
        self.bins[0, -2] = float(stop)

    def votes_to_stop(self) -> float:
        """Return how many ranks wish to, once the message has been added up."""
        return float(self.bins[0, -2])

    @property
    def sums(self) -> Tensor:
        """The two sums [2, P + S + 2] float64 that the ranks add up."""
        return self.bins

    def divide(self) -> dict[str, float]:
        """Turn the job's sums in the message into means; return the statistics."""
        total = self.bins[0] + self.bins[1]
        means = total[:-1] / total[-1]
        self.buffer[:-1] = means
        statistics = dict(
            zip(self.statistics, means[self.num_gradients : -1].tolist(), strict=True)
        )
        return statistics | {"num_samples": float(total[-1])}
