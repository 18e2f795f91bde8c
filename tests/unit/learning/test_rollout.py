"""Dealing timesteps to minibatches: every sample once, and the same ones for any sharding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from ppo_mpi.learning.rollout import Batch, Rollout, microbatches, minibatch_samples

SHAPES = [(64, 8, 8), (13, 4, 5), (7, 3, 9), (5, 8, 3), (1, 4, 4), (3, 5, 1), (17, 6, 6)]
"""(T, M, B): rollout steps, minibatches, environments of the job."""


def dealt(
    steps: int, num_minibatches: int, seed: int, iteration: int, epoch: int, index: int
) -> list[torch.Tensor]:
    """Return the steps of one environment in each minibatch."""
    return minibatch_samples([index], steps, num_minibatches, seed, iteration, epoch)


def shards(num_envs: int, num_ranks: int) -> list[list[int]]:
    """Return each rank's environments, written out independently of the communicator."""
    num_ranks = min(num_ranks, num_envs)
    sizes = [num_envs // num_ranks + (rank < num_envs % num_ranks) for rank in range(num_ranks)]
    starts = np.cumsum([0, *sizes])
    return [list(range(starts[r], starts[r + 1])) for r in range(num_ranks)]


def global_minibatches(
    steps: int, num_minibatches: int, num_envs: int, num_ranks: int, epoch: int = 0
) -> list[Counter[tuple[int, int]]]:
    """Return the (t, environment) pairs of each of the job's minibatches."""
    pairs: list[Counter[tuple[int, int]]] = [Counter() for _ in range(num_minibatches)]
    for indices in shards(num_envs, num_ranks):
        parts = minibatch_samples(indices, steps, num_minibatches, 5, 2, epoch)
        for pair, samples in zip(pairs, parts, strict=True):
            assert samples.dtype == torch.int64
            pair.update((s // len(indices), indices[s % len(indices)]) for s in samples.tolist())
    return pairs


@pytest.mark.parametrize(("steps", "num_minibatches", "num_envs"), SHAPES)
def test_every_sample_is_dealt_exactly_once_an_epoch(steps, num_minibatches, num_envs):
    dealt = sum(global_minibatches(steps, num_minibatches, num_envs, 1), Counter())
    assert dealt == Counter((t, i) for t in range(steps) for i in range(num_envs))


@pytest.mark.parametrize(("steps", "num_minibatches", "num_envs"), SHAPES)
@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_the_jobs_minibatches_are_the_same_for_any_sharding(
    steps, num_minibatches, num_envs, num_ranks
):
    alone = global_minibatches(steps, num_minibatches, num_envs, 1)
    assert global_minibatches(steps, num_minibatches, num_envs, num_ranks) == alone


@pytest.mark.parametrize(("steps", "num_minibatches", "num_envs"), SHAPES)
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_minibatches_differ_in_size_by_one_at_most(steps, num_minibatches, num_envs, num_ranks):
    sizes = [
        sum(m.values()) for m in global_minibatches(steps, num_minibatches, num_envs, num_ranks)
    ]
    assert max(sizes) - min(sizes) <= 1


def test_every_rank_has_its_even_share_of_each_minibatch():
    for indices in shards(9, 3):
        sizes = [len(part) for part in minibatch_samples(indices, 15, 4, 0, 0, 0)]
        assert sum(sizes) == 45
        # 15 steps are dealt 4 4 4 3 or so by each of three environments.
        assert max(sizes) - min(sizes) <= 2


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"iteration": 1}, {"epoch": 1}, {"index": 1}], ids=str
)
def test_the_permutation_depends_on_seed_iteration_epoch_and_environment(changed):
    keys = {"seed": 0, "iteration": 0, "epoch": 0, "index": 0}
    first, second = torch.cat(dealt(100, 4, **keys)), torch.cat(dealt(100, 4, **(keys | changed)))
    assert not torch.equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(100))


def test_the_larger_parts_go_round():
    sizes = [[len(part) for part in dealt(5, 3, 0, 0, 0, index)] for index in range(3)]
    assert sizes == [[2, 2, 1], [2, 1, 2], [1, 2, 2]]


def test_samples_are_sorted_positions_in_memory():
    for part in minibatch_samples([4, 5, 6], 11, 3, 0, 0, 0):
        assert part.tolist() == sorted(set(part.tolist()))
        assert 0 <= part.min() <= part.max() < 33


def numbered_batch(steps: int, num_envs: int) -> Batch:
    """Return a batch whose every tensor says which sample it belongs to."""
    number = torch.arange(steps * num_envs).view(steps, num_envs)
    none = np.zeros((steps, num_envs))
    rollout = Rollout(
        obs=number[..., None].repeat(1, 1, 2).float(),
        actions=number,
        log_probs=number + 0.1,
        values=number + 0.2,
        next_values=number + 0.3,
        rewards=none,
        terminated=none,
        truncated=none,
    )
    return Batch(rollout, number + 0.4, number + 0.5)


@pytest.mark.parametrize(("size", "lengths"), [(0, [5]), (2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_microbatches_are_the_minibatch_in_pieces(size, lengths):
    samples = torch.tensor([1, 4, 6, 7, 11])
    pieces = list(microbatches(numbered_batch(4, 3), samples, size))
    assert [len(piece) for piece in pieces] == lengths
    expected = samples.float()
    for name, offset in [
        ("actions", 0), ("old_log_probs", 0.1), ("old_values", 0.2), ("advantages", 0.4),
        ("returns", 0.5),
    ]:  # fmt: skip
        found = torch.cat([getattr(piece, name) for piece in pieces])
        torch.testing.assert_close(found.float(), expected + offset)
    assert torch.cat([piece.obs for piece in pieces])[:, 0].tolist() == samples.tolist()


def test_an_empty_share_of_a_minibatch_yields_nothing():
    assert list(microbatches(numbered_batch(4, 3), torch.zeros(0, dtype=torch.int64), 0)) == []
