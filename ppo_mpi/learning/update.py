"""Epochs x minibatches: one rollout's effect on the policy.

Axes: T steps; B environments on this rank; M minibatches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.device_gradients import DeviceGradients
from ppo_mpi.distributed.gradients import ExactGradients, FlatGradients
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.adam import Adam
from ppo_mpi.learning.augmenting import Augmenter
from ppo_mpi.learning.device_terms import DeviceTerms
from ppo_mpi.learning.losses import ClipRange
from ppo_mpi.learning.reproducible import Workers, samples_by_environment
from ppo_mpi.learning.rollout import Batch, Minibatch, dealt, microbatches, pieces_of
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.statistics import normalized_by_minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.direct import runs_directly
from ppo_mpi.settings.learning import LearningConfig

OF_VALUES = ("value_torso.", "value_recurrent.", "value_head.")
"""How the names of the parameters begin that belong to the values only."""

LossGradients = Callable[
    [ActorCritic, Minibatch, LearningConfig, float, float], tuple[list[Tensor], Tensor]
]


class Loss(Protocol):
    """Computes the loss of a minibatch."""

    def __call__(
        self,
        model: ActorCritic,
        minibatch: Minibatch,
        config: LearningConfig,
        clip_range: ClipRange,
        entropy_coef: float | Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss [] and the metrics, each summed over the samples.

        Clip and coefficient are as their schedules have them now; None takes the config's.
        """


@dataclass(frozen=True)
class Algorithm:
    """What an algorithm adds to the loop."""

    loss: Loss
    """Gives the loss [] and the metrics [len(metrics)]."""
    metrics: tuple[str, ...]
    """Names of the metrics, in order; one is "loss", one is "approx_kl"."""
    gradients: LossGradients | None = None
    """The gradients of the loss in the order of the model's parameters, and the metrics, without
    autograd; for models that ``runs_directly``. None where only autograd knows them."""


class Learner:
    """Model, optimizer and gradients: what an update changes."""

    def __init__(
        self,
        model: ActorCritic,
        algorithm: Algorithm,
        config: LearningConfig,
        seed: int,
        workers: Workers | None = None,
        on_device: bool = False,
        record: bool = False,
        augmenter: Augmenter | None = None,
    ) -> None:
        """Put them together.

        Args:
            model: what learns.
            algorithm: its loss.
            config: the algorithm's numbers.
            seed: the job's.
            workers: threads that take a microbatch each; those that are exact take one of a
                single environment, for the same bits on any number of ranks. None computes in
                the calling thread.
            on_device: whether an epoch's numbers stay where the model is until its end, as is
                best on a GPU; without workers only.
            record: whether a microbatch's kernels are then recorded and replayed.
            augmenter: changes the images that the loss sees; None if nothing does.
        """
        self.model = model
        self.workers = workers
        self.augmenter = augmenter
        self.loss = algorithm.loss
        self.loss_gradients = algorithm.gradients
        self.config = config
        self.seed = seed
        self.microbatch_size = config.microbatch_size
        """Samples that go through the network at once; 0 = a rank's share."""
        self.on_device = on_device
        self.gradients, named, apart = gradients_for(
            model, algorithm.metrics, config, workers, on_device
        )
        self.device_terms = None
        if on_device:
            assert workers is None, "threads share the processor's work only"
            self.device_terms = DeviceTerms(self._loss_of, self.gradients, record)
        self.optimizer = Adam(named, config.adam_epsilon, apart)

    def _loss_of(
        self, minibatch: Minibatch, clip_range: Tensor, entropy_coef: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.loss(self.model, minibatch, self.config, clip_range, entropy_coef)


def gradients_for(
    model: ActorCritic,
    statistics: tuple[str, ...],
    config: LearningConfig,
    workers: Workers | None,
    on_device: bool,
) -> tuple[FlatGradients, list[tuple[str, Any]], set[str]]:
    """Return a model's gradients, its parameters by name, and the names of the values' own.

    The arguments are those of ``Learner``; ``statistics`` ride behind the gradients.
    """
    kind: type[FlatGradients] = DeviceGradients if on_device else FlatGradients
    if workers is not None and workers.exact:
        kind = ExactGradients
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    apart = {name for name, _ in named if name.startswith(OF_VALUES)}
    in_parts = config.clip_gradients == "parts"
    return kind(model, statistics, apart if in_parts else ()), named, apart


def update(
    learner: Learner,
    batch: Batch,
    indices: tuple[int, ...],
    iteration: int,
    now: Scheduled,
    comm: Communicator,
) -> dict[str, float]:
    """Fit the model to ``batch``; return the last epoch's metrics, means over the job.

    Collective. Every rank takes the same number of optimizer steps, whatever its share of the
    environments, and the early stop is decided on a number all ranks share.

    Args:
        learner: changed in place.
        batch: this rank's share, [T, B].
        indices: whole-job indices of this rank's environments.
        iteration: counted from 0.
        now: what the schedules say.
        comm: the job.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite.
    """
    config = learner.config
    metrics: dict[str, float] = {}
    num_updates = 0
    deal = partial(dealt, batch.rollout, indices, config.num_minibatches, learner.seed, iteration)
    samples = deal(0)
    for epoch in range(config.num_epochs):
        if learner.augmenter is not None:
            returns = learner.model.in_returns(batch.returns)
            learner.augmenter.begin(returns, indices, iteration, epoch, comm)  # collective
        epoch_batch = batch
        if config.normalize_advantages == "minibatch":
            normalized = normalized_by_minibatch(batch, samples, comm)  # collective
            epoch_batch = replace(batch, advantages=normalized)
        if learner.device_terms is not None:
            if batch.rollout.memory is None:  # sequences are lined up by the processor
                samples = sent(samples, batch.returns.device)
            epoch_batch = learner.device_terms.hold(epoch_batch, now.clip_range, now.entropy_coef)
            learner.device_terms.prepare(
                [
                    piece
                    for own in samples
                    for piece in pieces_of(batch.rollout, own, learner.microbatch_size)
                ]
            )
        rows = []
        for own in samples:
            rows.append(optimizer_step(learner, epoch_batch, own, now, comm))  # collective
        # While a GPU is still at work.
        samples = deal(epoch + 1) if epoch + 1 < config.num_epochs else []
        metrics = epoch_means(numbers_of(learner, rows, comm), iteration)
        num_updates += len(rows)
        most = math.inf if config.target_kl is None else config.kl_stop_factor * config.target_kl
        if metrics["approx_kl"] > most:
            break
    metrics["optimizer_steps"] = float(num_updates)
    return metrics | (learner.augmenter.metrics() if learner.augmenter is not None else {})


def numbers_of(learner: Learner, rows: list[dict[str, Any]], comm: Communicator) -> Any:
    """Return the numbers of optimizer steps, once they are there."""
    # A GPU waits for the other ranks' by itself: one that hangs is not this one.
    comm.heart.waiting_for = learner.gradients.awaited
    try:
        return learner.gradients.read(rows)
    finally:
        comm.heart.waiting_for = ""


def epoch_means(rows: list[dict[str, float]], iteration: int) -> dict[str, float]:
    """Return an epoch's metrics, means over its samples.

    Args:
        rows: the numbers of each optimizer step; ``num_samples`` says how much each counts.
        iteration: counted from 0.

    Raises:
        NonFiniteError: a loss is NaN or infinite.
    """
    for row in rows:
        if not np.isfinite(row["loss"]):
            raise NonFiniteError(
                f"the loss in iteration {iteration + 1} is not finite ({row}); lower "
                "learning_rate, or check rewards and observations"
            )
    weights = [row["num_samples"] for row in rows]
    return {
        name: float(np.average([row[name] for row in rows], weights=weights))
        for name in rows[0]
        if name != "num_samples"
    }


def optimizer_step(
    learner: Learner,
    batch: Batch,
    samples: Tensor,
    now: Scheduled,
    comm: Communicator,
) -> dict[str, Any]:
    """Take one optimizer step on one of the job's minibatches; return its means. Collective.

    On a device they are for ``gradients.read``.

    Args:
        learner: changed in place.
        batch: this rank's share.
        samples: [N] int64, this rank's samples of the minibatch; may be empty.
        now: what the schedules say.
        comm: the job.
    """
    comm.heart.beat("learning")
    gradients = learner.gradients
    gradients.zero()
    if learner.device_terms is not None:
        for own in pieces_of(batch.rollout, samples, learner.microbatch_size):
            learner.device_terms.add(own)
    elif learner.workers is None:
        left = len(samples)
        for piece in microbatches(batch, samples, learner.microbatch_size):
            left -= len(piece)
            direct = direct_gradients(learner, piece, now)
            if direct is not None:
                gradients.add_term(*direct, len(piece))
                continue
            loss, sums = learner.loss(
                learner.model, piece, learner.config, now.clip_range, now.entropy_coef
            )
            gradients.add_statistics(sums, len(piece))
            if not left:  # others may do otherwise: the ranks' messages are the same
                gradients.call_when_complete(partial(comm.begin_sum, gradients))
            loss.backward()
    else:
        add_gradients(learner, learner.workers, batch, samples, now)
    means = comm.average_gradients(gradients)  # collective
    means["gradient_norm"] = gradients.clip_norm(learner.config.max_grad_norm)
    learner.optimizer.step(now.learning_rate, now.value_learning_rate)
    return means


def add_gradients(
    learner: Learner, workers: Workers, batch: Batch, samples: Tensor, now: Scheduled
) -> None:
    """Add up this rank's gradients, a microbatch on each thread at a time.

    Args:
        learner: its model is read, the terms are added to its gradients.
        workers: the threads; exact ones take one environment's samples at a time.
        batch: this rank's share.
        samples: [N] int64, this rank's samples of the minibatch.
        now: what the schedules say.
    """
    gradients, size = learner.gradients, learner.microbatch_size

    def term(piece: Tensor) -> tuple[Sequence[Tensor | None], Tensor, int]:
        (minibatch,) = microbatches(batch, piece, 0)
        direct = direct_gradients(learner, minibatch, now)
        if direct is not None:
            return *direct, len(minibatch)
        loss, sums = learner.loss(
            learner.model, minibatch, learner.config, now.clip_range, now.entropy_coef
        )
        return (
            torch.autograd.grad(loss, gradients.parameters, allow_unused=True),
            sums,
            len(minibatch),
        )

    if workers.exact:
        own_samples = samples_by_environment(samples, batch.returns.shape[1], 0)
        pieces = [piece for own in own_samples for piece in pieces_of(batch.rollout, own, size)]
    else:
        pieces = pieces_of(batch.rollout, samples, size)
    for own, sums, num_samples in workers.map(term, pieces):
        gradients.add_term(own, sums, num_samples)


def sent(samples: list[Tensor], device: torch.device) -> list[Tensor]:
    """Return what lies in the processor's memory on a device, in one transfer."""
    together = torch.cat(samples)
    if device.type == "cuda":
        together = together.pin_memory()
    return list(together.to(device, non_blocking=True).split([len(own) for own in samples]))


def direct_gradients(
    learner: Learner, minibatch: Minibatch, now: Scheduled
) -> tuple[list[Tensor], Tensor] | None:
    """Return the loss's gradients and metrics, or None where it takes autograd to find them."""
    model = learner.model
    if learner.loss_gradients is None or not runs_directly(model, minibatch.obs):
        return None
    if any(p._backward_hooks or not p.requires_grad for p in model.parameters()):
        return None
    return learner.loss_gradients(
        model, minibatch, learner.config, now.clip_range, now.entropy_coef
    )
