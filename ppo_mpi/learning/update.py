"""Epochs x minibatches: one rollout's effect on the policy.

Axes: T steps; B environments on this rank; M minibatches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.algorithm import Place
from ppo_mpi.learning.device_terms import DeviceTerms
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.reproducible import Workers, samples_by_environment
from ppo_mpi.learning.rollout import Batch, Minibatch, dealt, microbatches, pieces_of
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.statistics import normalized_by_minibatch
from ppo_mpi.networks.direct import runs_directly


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
    begin_tasks(learner, batch, iteration, comm)  # collective
    for epoch in range(config.num_epochs):
        if learner.augmenter is not None:
            returns = learner.model.in_returns(batch.returns)
            learner.augmenter.begin(returns, indices, iteration, epoch, comm)  # collective
        epoch_batch = batch
        if config.normalize_advantages == "minibatch":
            normalized = normalized_by_minibatch(batch, samples, comm)  # collective
            epoch_batch = replace(batch, advantages=normalized)
        if learner.device_terms is not None:
            epoch_batch, samples = on_device(
                learner, learner.device_terms, epoch_batch, samples, now
            )
        rows = []
        for own in samples:
            if learner.before_step is not None:
                place = Place(learner.seed, indices, iteration, epoch)
                learner.before_step(learner, epoch_batch, own, place, comm)  # collective
            rows.append(optimizer_step(learner, epoch_batch, own, now, comm))  # collective
        # While a GPU is still at work.
        samples = deal(epoch + 1) if epoch + 1 < config.num_epochs else []
        metrics = epoch_means(numbers_of(learner, rows, comm), iteration)
        num_updates += len(rows)
        most = math.inf if config.target_kl is None else config.kl_stop_factor * config.target_kl
        if metrics["approx_kl"] > most:
            break
    metrics["optimizer_steps"] = float(num_updates)
    return metrics | metrics_beside(learner, metrics)


def begin_tasks(learner: Learner, batch: Batch, iteration: int, comm: Communicator) -> None:
    """Weigh the truths of a rollout, if there are auxiliary heads. Collective."""
    if learner.tasks is not None:
        assert batch.rollout.truths is not None, "auxiliary heads have truths"
        learner.tasks.begin(batch.rollout.truths, iteration, comm)  # collective


def metrics_beside(learner: Learner, metrics: dict[str, float]) -> dict[str, float]:
    """Return what optimizer, auxiliary tasks and augmentation have to tell of an update."""
    beside: dict[str, float] = {}
    if learner.of_optimizer is not None:
        beside |= learner.of_optimizer(learner.optimizer)
    if learner.tasks is not None:
        beside |= learner.tasks.metrics(metrics)
    if learner.augmenter is not None:
        beside |= learner.augmenter.metrics()
    return beside


def on_device(
    learner: Learner, terms: DeviceTerms, batch: Batch, samples: list[Tensor], now: Scheduled
) -> tuple[Batch, list[Tensor]]:
    """Return an epoch's batch and samples as they are held where the model is.

    Args:
        learner: of the model.
        terms: hold them.
        batch: this rank's share.
        samples: this rank's samples of each minibatch.
        now: what the schedules say.
    """
    if batch.rollout.memory is None:  # sequences are lined up by the processor
        samples = sent(samples, batch.returns.device)
    held = terms.hold(batch, now.clip_range, now.entropy_coef)
    size = learner.microbatch_size
    terms.prepare([piece for own in samples for piece in pieces_of(batch.rollout, own, size)])
    return held, samples


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

    for own, sums, num_samples in workers.map(term, pieces_for(workers, batch, samples, size)):
        gradients.add_term(own, sums, num_samples)


def pieces_for(workers: Workers | None, batch: Batch, samples: Tensor, size: int) -> list[Tensor]:
    """Return a minibatch's samples [N] in pieces that go through the network at once.

    Args:
        workers: exact ones take one environment's samples at a time.
        batch: this rank's share.
        samples: [N] int64, this rank's samples of the minibatch.
        size: samples in a piece at most; 0 = no limit.
    """
    if workers is None or not workers.exact:
        return pieces_of(batch.rollout, samples, size)
    own_samples = samples_by_environment(samples, batch.returns.shape[1], 0)
    return [piece for own in own_samples for piece in pieces_of(batch.rollout, own, size)]


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
