"""Whole sequences of a rollout for policies that remember: kept, dealt to minibatches, lined up.

A *sequence* is what one environment did in ``steps`` steps of a rollout (the last one may be
shorter). Where an episode ends within it, it falls into *segments*. Axes: T steps; B environments
on this rank; C sequences of each environment; K segments of N samples; S numbers of a memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.learning.transition import ALL, Place, Transition
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.seeding import generator


@dataclass(frozen=True)
class RolloutMemory:
    """What the policy remembered in a rollout where its sequences begin."""

    states: Tensor
    """[C, B, S] float32, 0 where an episode begins together with the sequence."""
    starts: np.ndarray
    """[T, B] bool, whether an episode begins with this observation. A rollout's first ones are
    never marked: their states say it."""
    steps: int
    """Of each sequence but the last."""


class MemoryKeeper:
    """Keeps what a rollout's learning needs of the policy's memory, in the same tensor each time.

    The memory is a constant of learning: gradients do not go back beyond a sequence's begin.
    """

    def __init__(self, rollout_steps: int, memory: Tensor, sequence_steps: int) -> None:
        """Make room.

        Args:
            rollout_steps: T.
            memory: [B, S] on the device, of which only the shape counts.
            sequence_steps: 0 = T.
        """
        self._steps = sequence_steps or rollout_steps
        num = math.ceil(rollout_steps / self._steps)
        self._states = memory.new_zeros(num, *memory.shape)
        self._at_ends: list[Tensor] = []

    def begin(self) -> None:
        """Forget the ends of the rollout before."""
        self._at_ends = []

    def note(self, place: Place, transition: Transition) -> None:
        """Take a step of some slots; those that were cut short are bootstrapped with its memory."""
        step, slots = place if isinstance(place, tuple) else (place, ALL)
        if step % self._steps == 0:
            self._states[step // self._steps, slots] = transition.memory
        if transition.result.final_obs:
            own = [slot - (slots.start or 0) for slot in transition.result.final_obs]
            self._at_ends.append(transition.memory_after[own])

    def at_ends(self) -> Tensor:
        """Return [n, S], what was remembered of episodes that were cut short, in their order."""
        return torch.cat(self._at_ends)

    def of_rollout(self, ended: np.ndarray) -> RolloutMemory:
        """Return what was kept.

        Args:
            ended: [T, B] bool, where episodes did.
        """
        starts = np.zeros_like(ended)
        starts[1:] = ended[:-1]
        return RolloutMemory(self._states, starts, self._steps)


def without_ended(memory: Tensor, ended: np.ndarray) -> Tensor:
    """Return memories [N, S] for the next step: nothing of episodes that ended, [N] bool."""
    return memory.masked_fill(torch.from_numpy(ended).to(memory.device)[:, None], 0.0)


def sequence_samples(
    indices: Sequence[int],
    rollout_steps: int,
    sequence_steps: int,
    num_minibatches: int,
    seed: int,
    iteration: int,
    epoch: int,
) -> list[Tensor]:
    """Deal the sequences of this rank's environments to the minibatches of an epoch.

    The job's sequences are numbered environment by environment. Of each M that follow each other
    every minibatch gets one, by a permutation which depends on their place in this order and on
    nothing of the rank. So the job's minibatch is the same however the environments are sharded,
    the job's minibatches differ by one sequence at most, and a rank's by two.

    Args:
        indices: whole-job indices of this rank's environments, by slot.
        rollout_steps: T.
        sequence_steps: of each sequence but the last.
        num_minibatches: M.
        seed: the job's seed.
        iteration: counted from 0 over the whole job.
        epoch: counted from 0 within the iteration.

    Returns:
        M tensors, int64, positions ``t * B + slot`` in [T * B], sequence after sequence and step
        by step within each.
    """
    num_envs, each = len(indices), math.ceil(rollout_steps / sequence_steps)
    numbers = np.asarray(indices, np.int64)[:, None] * each + np.arange(each)
    block, place = np.divmod(numbers, num_minibatches)
    minibatch = np.zeros_like(numbers)
    for own in np.unique(block):
        order = generator(seed, "sequences", iteration, epoch, int(own)).permutation(
            num_minibatches
        )
        minibatch[block == own] = order[place[block == own]]
    of_steps = minibatch[:, np.arange(rollout_steps) // sequence_steps].ravel()
    positions = np.arange(rollout_steps * num_envs).reshape(rollout_steps, num_envs).T.ravel()
    samples = positions[of_steps.argsort(kind="stable")]
    counts = np.bincount(of_steps, minlength=num_minibatches)
    return list(torch.from_numpy(samples).split(counts.tolist()))


def split_sequences(samples: Tensor, num_envs: int, steps: int, size: int) -> list[Tensor]:
    """Split sequences into pieces of at most ``size`` samples, but at least one sequence each.

    Args:
        samples: [N] int64, as ``sequence_samples`` orders them.
        num_envs: B.
        steps: of each sequence but the last of an environment.
        size: 0 = one piece.

    Returns:
        in order; no piece is empty.
    """
    if not len(samples):
        return []
    begins = (samples // num_envs) % steps == 0
    piece = (begins.cumsum(0) - 1) // max(1, size // steps if size else len(samples))
    return list(samples.split(piece.bincount().tolist()))


def lined_up(memory: RolloutMemory, samples: Tensor) -> tuple[Tensor, Sequences]:
    """Order samples as a recurrent layer takes them: their segments side by side, longest first.

    Args:
        memory: of the rollout.
        samples: [N] int64, N > 0, whole sequences as ``sequence_samples`` orders them.

    Returns:
        the same samples [N], and how they follow each other.
    """
    positions = samples.numpy()
    step, slot = np.divmod(positions, memory.starts.shape[1])
    is_first = step % memory.steps == 0
    begins = is_first | memory.starts[step, slot]
    firsts = np.flatnonzero(begins)
    lengths = np.diff(np.append(firsts, len(positions)))
    order = (-lengths).argsort(kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    segment = begins.cumsum() - 1
    within = np.arange(len(positions)) - firsts[segment]
    sizes = np.bincount(within)
    row = (sizes.cumsum() - sizes)[within] + rank[segment]
    ordered = np.empty_like(positions)
    ordered[row] = positions
    begin = torch.from_numpy(ordered[: len(firsts)]).to(memory.states.device)
    num_envs = memory.starts.shape[1]
    at_begin = begin // num_envs // memory.steps * num_envs + begin % num_envs
    known = memory.states.flatten(0, 1)[at_begin]
    states = without_ended(known, ~is_first[firsts][order])
    return torch.from_numpy(ordered), Sequences(states, torch.from_numpy(sizes))
