"""Eigenbases: right, deterministic, spread over the ranks, and named where they fail."""

from __future__ import annotations

import pytest
import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.eigenbases import decompose, owners, shared_eigenbases
from ppo_mpi.learning.reproducible import Workers


def factor(size: int, rank: int) -> torch.Tensor:
    vectors = torch.randn(rank, size, generator=torch.Generator().manual_seed(size))
    return vectors.t() @ vectors


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (6, 20), (12, 3)])
def test_a_matrix_is_its_eigenbasis(size: int, rank: int):
    matrix = factor(size, rank)
    basis = decompose(matrix)
    assert basis is not None
    q = basis.vectors
    torch.testing.assert_close(q @ q.t(), torch.eye(size, dtype=torch.float64))
    # Float32's rounding is in the matrix, float64's in its decomposition.
    torch.testing.assert_close(
        q @ basis.values.diag() @ q.t(), matrix.double(), rtol=0, atol=1e-6 * float(matrix.max())
    )


def test_what_rounding_made_negative_is_zero_and_signs_are_by_the_largest_number():
    basis = decompose(factor(12, 3))
    assert basis is not None
    assert int((basis.values <= 1e-6 * basis.values.max()).sum()) == 9
    assert bool((basis.values >= 0).all())
    largest = basis.vectors.gather(0, basis.vectors.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())


def test_a_decomposition_that_fails_is_tried_again_with_damping(monkeypatch: pytest.MonkeyPatch):
    asked, eigh = [], torch.linalg.eigh

    def failing(matrix: torch.Tensor) -> object:
        asked.append(matrix)
        if len(asked) < 3:
            raise torch.linalg.LinAlgError("ill-conditioned")
        return eigh(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", failing)
    matrix = factor(5, 9).double()
    basis = decompose(matrix)
    assert basis is not None
    added = [float((one - matrix).diagonal().mean() / matrix.diagonal().mean()) for one in asked]
    assert added == pytest.approx([0, 1e-8, 1e-4], abs=1e-12)


def test_work_is_spread_by_the_third_power_of_sizes():
    assert owners([3, 10, 9, 2, 9, 1], 1) == [0] * 6
    # 1000 | 729 + 1 | 729: what is left goes to who has least.
    assert owners([3, 10, 9, 2, 9, 1], 3) == [1, 0, 1, 2, 2, 2]


@pytest.mark.parametrize("workers", [None, Workers(2)])
def test_ranks_together_find_what_one_finds(workers: Workers | None):
    matrices = [factor(size, 7) for size in (4, 9, 6)]

    class OneOfTwo(Communicator):
        """Adds what the other rank, of the same matrices, sends."""

        world_size = 2

        def sum(self, array):
            if self.rank == 0:
                self.sent = array
            return array

    first, second = OneOfTwo(), OneOfTwo()
    second.rank = 1
    shared_eigenbases("abc", matrices, workers, first)
    second.sum = lambda array: array + first.sent  # type: ignore[method-assign]
    together = shared_eigenbases("abc", matrices, workers, second)
    alone = shared_eigenbases("abc", matrices, None, Communicator())
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one.values, two.values)
        assert torch.equal(one.vectors, two.vectors)


def test_a_matrix_that_cannot_be_decomposed_is_named():
    matrices = [torch.eye(2), torch.full((3, 3), torch.inf)]
    with pytest.raises(NonFiniteError, match="curvature of torso/outputs cannot be decomposed"):
        shared_eigenbases(["torso/inputs", "torso/outputs"], matrices, None, Communicator())
