"""Eigenvalues and eigenvectors of symmetric matrices, each found by one rank and given to all.

Axes: K size of a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.reproducible import Workers

DAMPINGS = (0.0, 1e-8, 1e-4)
"""Of the mean eigenvalue, what is added to all of them until a decomposition succeeds."""


@dataclass(frozen=True)
class Eigenbasis:
    """Matrix = vectors diag(values) vectors^T."""

    values: Tensor
    """[K] float64, not below 0, ascending."""
    vectors: Tensor
    """[K, K] float64, one in each column."""


def decompose(matrix: Tensor) -> Eigenbasis | None:
    """Return the eigenbasis of a symmetric matrix without negative eigenvalues.

    What rounding made negative becomes 0, and of each vector the largest number is positive.

    Args:
        matrix: [K, K].

    Returns:
        None if it cannot be decomposed, however damped.
    """
    exact = matrix.double().cpu()
    exact = (exact + exact.t()) / 2
    mean = float(exact.diagonal().mean())
    if not bool(torch.isfinite(exact).all()):
        return None
    for damping in DAMPINGS:
        try:
            values, vectors = torch.linalg.eigh(
                exact + damping * mean * torch.eye(len(exact), dtype=exact.dtype)
            )
        except torch.linalg.LinAlgError:
            continue
        if bool(torch.isfinite(values).all()) and bool(torch.isfinite(vectors).all()):
            largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
            # Adding 0 makes one zero of both.
            return Eigenbasis(values.clamp(min=0.0), vectors * largest.sign() + 0.0)
    return None


def owners(sizes: Sequence[int], world_size: int) -> list[int]:
    """Return the rank that decomposes each matrix, so that none has much more work.

    The largest is given away first, each to who has least; the work grows with the third power.

    Args:
        sizes: K of each.
        world_size: ranks.
    """
    found, work = [0] * len(sizes), [0] * world_size
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        found[i] = min(range(world_size), key=lambda rank: work[rank])
        work[found[i]] += sizes[i] ** 3
    return found


def shared_eigenbases(
    names: Sequence[str],
    matrices: Sequence[Tensor],
    workers: Workers | None,
    comm: Communicator,
) -> list[Eigenbasis]:
    """Return the eigenbasis of each matrix, the same bits on every rank. Collective.

    Args:
        names: for an error.
        matrices: [K, K] each, the same on every rank.
        workers: threads that take one each; None for the calling one.
        comm: the job.

    Raises:
        NonFiniteError: one cannot be decomposed; on all ranks together.
    """
    sizes = [len(matrix) for matrix in matrices]
    own = [i for i, rank in enumerate(owners(sizes, comm.world_size)) if rank == comm.rank]
    starts = np.cumsum([0, *(size * (size + 1) for size in sizes)])
    flat = np.zeros(starts[-1])
    run = map if workers is None else workers.map
    for i, basis in zip(own, run(lambda i: decompose(matrices[i]), own), strict=True):
        place = flat[starts[i] : starts[i + 1]]
        place[:] = np.nan
        if basis is not None:
            place[: sizes[i]] = basis.values.numpy()
            place[sizes[i] :] = basis.vectors.flatten().numpy()
    flat = comm.sum(flat)  # collective
    found = []
    for name, size, start in zip(names, sizes, starts, strict=False):
        values, vectors = torch.from_numpy(flat[start : start + size * (size + 1)]).tensor_split(
            [size]
        )
        if bool(values.isnan().any()):
            raise NonFiniteError(
                f"the curvature of {name} cannot be decomposed, also not with damping: its numbers "
                "are too large or not finite; lower learning_rate or acktr's kl_clip, or normalize "
                "observations and rewards"
            )
        found.append(Eigenbasis(values, vectors.view(size, size)))
    return found
