"""What is collected between two updates, and how it is dealt into minibatches.

Axes: T steps; B environments on this rank; N samples of a minibatch; A action size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.learning.following import Following
from ppo_mpi.learning.sequences import (
    RolloutMemory,
    lined_up,
    sequence_samples,
    split_sequences,
)
from ppo_mpi.learning.truths import Truths
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.seeding import generator


@dataclass(frozen=True)
class Rollout:
    """One rank's share of a rollout, time first. Its tensors are reused by the next rollout."""

    obs: Tensor
    """[T, B, ...] uint8 images or float32 vectors (normalized, if the run normalizes)."""
    actions: Tensor
    """[T, B, ...] int64 or float32, as the action space says; boxes as sampled: neither clipped
    nor squashed."""
    log_probs: Tensor
    """[T, B] float32, nats, when the actions were taken."""
    values: Tensor
    """[T, B] float32, V(obs[t])."""
    next_values: Tensor
    """[T, B] float32, V of the observation that followed, before any reset."""
    rewards: np.ndarray
    """[T, B] float32, raw, as the environments gave them."""
    terminated: np.ndarray
    """[T, B] bool."""
    truncated: np.ndarray
    """[T, B] bool."""
    following: Following | None = None
    """What followed the observations; only kept for a reward model."""
    memory: RolloutMemory | None = None
    """What the policy remembered; None if it does not."""
    truths: Truths | None = None
    """What is true of the observations; None without auxiliary heads."""
    bonus: np.ndarray | None = None
    """[T, B] float32, bonus rewards, raw; None if nobody asked for them."""


@dataclass(frozen=True)
class Batch:
    """A rollout with advantages and returns: what the epochs learn from."""

    rollout: Rollout
    advantages: Tensor
    """[T, B] float32, normalized over the job if that is asked for."""
    returns: Tensor
    """[T, B] float32, value targets."""
    bootstrap_bounds: tuple[float, float] | None = None
    """Lowest and highest value with which the targets were bootstrapped; None for no bounds."""


@dataclass(frozen=True)
class Minibatch:
    """N samples of a batch."""

    obs: Tensor
    actions: Tensor
    old_log_probs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    sequences: Sequences | None = None
    """How the samples follow each other, for a policy that remembers."""
    samples: Tensor | None = None
    """[N] int64, positions in the rollout's [T * B]; None if the samples are of none."""
    truths: Truths | None = None
    """What is true of the observations; None without auxiliary heads."""

    def __len__(self) -> int:
        return len(self.returns)


def minibatch_samples(
    indices: Sequence[int],
    rollout_steps: int,
    num_minibatches: int,
    seed: int,
    iteration: int,
    epoch: int,
) -> list[Tensor]:
    """Deal the timesteps of each of this rank's environments to the minibatches of an epoch.

    An environment's permutation depends on its index in the whole job and on nothing of the
    rank, so that the job's minibatch is the same set of samples however the environments are
    sharded, and every rank has an even share of each. The numbers of steps that an environment
    gives to the minibatches differ by one at most, and so do the job's.

    Args:
        indices: whole-job indices of this rank's environments, by slot.
        rollout_steps: T.
        num_minibatches: M.
        seed: the job's seed.
        iteration: counted from 0 over the whole job.
        epoch: counted from 0 within the iteration.

    Returns:
        M tensors, int64, positions ``t * B + slot`` in [T * B]; sorted, as neighbors in memory
        are read together.
    """
    size, rest = divmod(rollout_steps, num_minibatches)
    larger = np.arange(num_minibatches) < rest
    parts = np.repeat(np.arange(num_minibatches), size + larger)
    minibatch = np.empty((rollout_steps, len(indices)), np.int64)
    for slot, index in enumerate(indices):
        order = generator(seed, "minibatches", iteration, epoch, index).permutation(rollout_steps)
        # The larger parts of one environment follow on those of the one before, round and round.
        minibatch[order, slot] = parts + index * rest
    flat = minibatch.ravel() % num_minibatches
    # A stable sort of short whole numbers is a quick one.
    samples = flat.astype(np.min_scalar_type(num_minibatches)).argsort(kind="stable")
    return list(
        torch.from_numpy(samples).split(np.bincount(flat, minlength=num_minibatches).tolist())
    )


def dealt(
    rollout: Rollout,
    indices: Sequence[int],
    num_minibatches: int,
    seed: int,
    iteration: int,
    epoch: int,
) -> list[Tensor]:
    """Deal a rollout to the minibatches of an epoch: as sequences, if the policy remembers.

    Arguments and result are those of ``minibatch_samples`` and ``sequence_samples``.
    """
    steps = len(rollout.rewards)
    if rollout.memory is None:
        return minibatch_samples(indices, steps, num_minibatches, seed, iteration, epoch)
    return sequence_samples(
        indices, steps, rollout.memory.steps, num_minibatches, seed, iteration, epoch
    )


def pieces_of(rollout: Rollout, samples: Tensor, size: int) -> list[Tensor]:
    """Split samples [N] as ``split`` does, but keep sequences whole: a piece has at least one."""
    if rollout.memory is not None:
        num_envs = rollout.rewards.shape[1]
        return split_sequences(samples, num_envs, rollout.memory.steps, size)
    return split(samples, size)


def split(samples: Tensor, size: int) -> list[Tensor]:
    """Split samples [N] into pieces of at most ``size`` (0 = one piece); none is empty."""
    return [piece for piece in samples.split(size or max(1, len(samples))) if len(piece)]


def microbatches(batch: Batch, samples: Tensor, size: int) -> Iterator[Minibatch]:
    """Yield the samples of one minibatch in pieces of at most ``size``; 0 = all at once.

    Args:
        batch: [T, B] tensors.
        samples: [N] int64, positions in [T * B]; may be empty, then nothing is yielded. Whole
            sequences, if the policy remembers.
        size: samples that go through the network at once, see ``pieces_of``.
    """
    rollout = batch.rollout
    flat = [
        x.flatten(0, 1)
        for x in (
            rollout.obs, rollout.actions, rollout.log_probs, rollout.values,
            batch.advantages, batch.returns,
        )
    ]  # fmt: skip
    for piece in pieces_of(rollout, samples, size):
        sequences = None
        if rollout.memory is not None:
            piece, sequences = lined_up(rollout.memory, piece)
        obs, actions, log_probs, values, advantages, returns = (x[piece.to(x.device)] for x in flat)
        yield Minibatch(
            obs, actions, log_probs, values, advantages, returns, sequences, samples=piece,
            truths=None if rollout.truths is None else rollout.truths.of(piece),
        )  # fmt: skip
