"""The same bits on any number of ranks and threads.

Matrix products depend in their last bits on how many rows are computed at once, and sums on the
order of their terms. An optimizer makes much of such differences: after a hundred steps of a
convolutional network they are seen in the second digit. Here the network always sees batches
that do not depend on how environments are sharded: a fixed number of rows when acting, one
environment's samples when learning. Threads take whole batches, and sums are exact.

Axes: N samples; A size of the policy's outputs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.recurrent import Sequences

ROWS = 8
"""Rows that act at once. Multiples of four were seen to give each row the same bits at any place
in the batch, with oneDNN and MKL on x86-64."""

T = TypeVar("T")


class Workers:
    """Threads that take whole pieces of work; each piece runs on one thread.

    Two threads with a batch each were measured to do twice the work of one; two threads on one
    batch, torch's own way, do less.
    """

    def __init__(self, threads: int, exact: bool = True) -> None:
        """Make the threads.

        Args:
            threads: how many, at least 1.
            exact: whether pieces and sums are to be the same however the work is dealt.
        """
        self.threads = threads
        self.exact = exact
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def map(self, function: Callable[[Any], T], pieces: Sequence[Any]) -> Iterator[T]:
        """Yield ``function(piece)`` for each piece, in order."""
        if self._pool is None:
            yield from map(function, pieces)
            return
        waiting: deque[Future[T]] = deque()
        try:
            for piece in pieces:
                waiting.append(self._pool.submit(function, piece))
                # Finished results that nobody took yet would fill the memory.
                if len(waiting) == 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def outputs_in_rows(model: ActorCritic, obs: Tensor, workers: Workers) -> tuple[Tensor, Tensor]:
    """Return policy outputs [N, A] and values [N] for observations [N, ...], without gradients.

    Workers that are exact take ``ROWS`` observations at a time, the last ones padded with zeros;
    others an equal part each.
    """
    outputs, values = _in_rows(lambda part: model.outputs(part[0]), (obs,), workers)
    return outputs, values


def outputs_and_memory(
    model: ActorCritic, obs: Tensor, memory: Tensor, workers: Workers | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return policy outputs [N, A], values [N] and memories [N, S] after a step of each.

    Args:
        model: one that remembers, or not.
        obs: [N, ...].
        memory: [N, S] float32, before.
        workers: as in ``outputs_in_rows``; None takes all at once.
    """

    def recall(part: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return model.recall(part[0], Sequences.of_one_step(part[1]))

    if not model.memory_size:
        found = model.outputs(obs) if workers is None else outputs_in_rows(model, obs, workers)
        return *found, memory
    if workers is None:
        return model.recall(obs, Sequences.of_one_step(memory))
    outputs, values, after = _in_rows(recall, (obs, memory), workers)
    return outputs, values, after


def _in_rows(
    function: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]],
    inputs: tuple[Tensor, ...],
    workers: Workers,
) -> list[Tensor]:
    """Return what a function gives for inputs [N, ...], a part of them at a time."""
    num = len(inputs[0])
    rows = ROWS if workers.exact else max(1, math.ceil(num / workers.threads))
    missing = -num % ROWS if workers.exact else 0
    if not num:
        missing = ROWS  # of which nothing is returned

    def evaluate(part: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with torch.no_grad():  # gradient mode belongs to a thread
            return function(part)

    if missing:
        inputs = tuple(torch.cat([x, x.new_zeros(missing, *x.shape[1:])]) for x in inputs)
    parts = list(zip(*(x.split(max(rows, missing)) for x in inputs), strict=True))
    found = list(workers.map(evaluate, parts))
    return [torch.cat(x)[:num] for x in zip(*found, strict=True)]


def samples_by_environment(samples: Tensor, num_envs: int, size: int) -> list[Tensor]:
    """Split a minibatch's samples into those of each environment, in pieces of at most ``size``.

    Args:
        samples: [N] int64, sorted positions ``t * num_envs + slot``.
        num_envs: environments on this rank.
        size: samples that go through the network at once; 0 = no limit.

    Returns:
        sorted positions; no piece is empty.
    """
    pieces = []
    for slot in range(num_envs):
        own = samples[samples % num_envs == slot]
        pieces += [piece for piece in own.split(size or max(1, len(own))) if len(piece)]
    return pieces
