"""Auxiliary tasks: truths of a rollout, how much each counts, and what the heads make of them.

Axes: T steps; B environments on this rank; N samples; H heads; W numbers of all truths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.normalizers import job_moments
from ppo_mpi.learning.truths import Truths
from ppo_mpi.settings.heads import Head


def columns(heads: Sequence[Head]) -> list[slice]:
    """Return where in W each head's truth lies."""
    ends = np.cumsum([0, *(head.width for head in heads)]).tolist()
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def regression_loss(answers: Tensor, truths: Tensor) -> Tensor:
    """Return half the squared error, summed over a truth's numbers.

    Args:
        answers: [N, K] float32.
        truths: [N, K] float32, finite.

    Returns:
        [N] float32.
    """
    return 0.5 * ((answers - truths) ** 2).sum(1)


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the cross entropy [N] float32, nats, of logits [N, K] and classes [N] int64."""
    return F.cross_entropy(logits, classes, reduction="none")


class Tasks:
    """The heads' losses and what is told of them.

    A truth that is not known counts nothing, and the others of its head so much more that the
    losses of a rollout add up to their mean over all truths that are known, of the whole job.
    """

    def __init__(self, heads: Sequence[Head], weights: Sequence[float], env: str) -> None:
        """Take the heads.

        Args:
            heads: H of them, at least one.
            weights: of each head's loss.
            env: which environment tells the truths, for messages.
        """
        self.heads, self.weights, self._env = tuple(heads), tuple(weights), env
        self.columns = columns(heads)
        self._shares = np.zeros(len(heads))
        self._variances = np.zeros(len(heads))

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of what ``losses`` gives, behind the algorithm's own."""
        names = ["auxiliary_loss"]
        for head in self.heads:
            names.append(f"auxiliary/{head.name}_loss")
            if head.is_classes:
                names.append(f"auxiliary/{head.name}_accuracy")
        return tuple(names)

    def begin(self, truths: Truths, iteration: int, comm: Communicator) -> None:
        """Give a rollout's truths their weights. Collective.

        Args:
            truths: [T, B, ...] of this rank; the weights are changed in place.
            iteration: counted from 0.
            comm: the job.

        Raises:
            ConfigError: in the first iteration there is no truth at all, for any head.
        """
        values = truths.values.cpu().numpy().astype(np.float64)
        known = np.stack(
            [np.isfinite(values[..., own]).all(-1) for own in self.columns], axis=-1
        )  # [T, B, H]
        counts = np.array([*known.sum((0, 1)), known[..., 0].size])
        *present, total = comm.sum(counts).tolist()  # collective
        if iteration == 0 and not any(present):
            names = ", ".join(head.name for head in self.heads)
            raise ConfigError(
                f"env={self._env} told no truth of {names} in the first rollout; put them into "
                'info["auxiliary"], a dict by these names, in what reset() and step() return, or '
                "leave out auxiliary_heads"
            )
        self._shares = np.array(present) / total
        factors = np.array([total / count if count else 0.0 for count in present])
        truths.weights.copy_(torch.from_numpy((known * factors).astype(np.float32)))
        for i, (head, own) in enumerate(zip(self.heads, self.columns, strict=True)):
            if not head.is_classes and present[i]:
                rows = values[..., own][known[..., i]]
                _, _, variance = job_moments(rows.T, comm)  # collective
                self._variances[i] = variance.sum()

    def losses(self, answers: Sequence[Tensor], truths: Truths) -> tuple[Tensor, Tensor]:
        """Return the weighted loss [] summed over samples, and the sums of ``statistics``.

        Args:
            answers: what each head gives, [N, size] float32.
            truths: of the N samples.
        """
        total = truths.weights.new_zeros(())
        sums = []
        tasks = zip(self.heads, self.columns, self.weights, answers, strict=True)
        for i, (head, own, coef, given) in enumerate(tasks):
            counts = truths.weights[:, i]
            wanted = truths.values[:, own].nan_to_num()  # counts nothing where it is not known
            if head.is_classes:
                classes = wanted[:, 0].long()
                loss = counts * class_loss(given, classes)
                hits = counts * (given.argmax(1) == classes)
                sums += [loss.sum(), hits.sum()]
            else:
                loss = counts * regression_loss(given, wanted)
                sums.append(loss.sum())
            total = total + coef * loss.sum()
        return total, torch.stack([total, *sums]).detach()

    def metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return what else there is to tell of an epoch, and what there was nothing to tell of.

        Args:
            means: of ``statistics``, over the epoch's samples.

        Returns:
            for each head the share of samples whose truth was known; NaN for a head's other numbers
            if there was none; and how much of a regression's variance is explained.
        """
        found: dict[str, float] = {}
        for head, share, variance in zip(self.heads, self._shares, self._variances, strict=True):
            name = f"auxiliary/{head.name}"
            found[f"{name}_known"] = float(share)
            loss = means[f"{name}_loss"] if share else math.nan
            found[f"{name}_loss"] = loss
            if head.is_classes:
                found[f"{name}_accuracy"] = means[f"{name}_accuracy"] if share else math.nan
            else:
                explained = 1 - 2 * loss / variance if variance > 0 else math.nan
                found[f"{name}_explained_variance"] = explained
        return found
