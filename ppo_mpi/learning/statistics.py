"""Means over the whole job, of a batch and of its minibatches.

Axes: T steps; B environments on this rank; M minibatches.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.losses import explained_variance
from ppo_mpi.learning.rollout import Batch


def normalized_by_minibatch(batch: Batch, samples: list[Tensor], comm: Communicator) -> Tensor:
    """Return advantages [T, B] with mean 0 and deviation 1 in each of the job's minibatches.

    Collective: a few messages of [2, M] numbers an epoch.
    """
    flat = batch.advantages.flatten().cpu()
    parts = [flat[own].double() for own in samples]
    longest = max(len(x) for x in parts)
    terms = np.zeros((2, len(parts), longest))
    for row, x in enumerate(parts):
        terms[:, row, : len(x)] = torch.stack([x, x * x]).numpy()
    counts = comm.sum(np.array([len(x) for x in parts]))  # collective
    totals, squares = comm.exact_sum(terms)  # collective
    means = totals / counts
    deviations = np.sqrt(np.maximum(squares / counts - means**2, 0.0))
    result = torch.empty_like(flat)
    for own, x, mean, deviation in zip(samples, parts, means, deviations, strict=True):
        result[own] = ((x - mean) / (deviation + 1e-8)).float()
    return result.view_as(batch.advantages).to(batch.advantages.device)


def value_statistics(batch: Batch, comm: Communicator) -> dict[str, float]:
    """Return the explained variance and the means of values and returns. Collective."""
    returns, values = batch.returns.double(), batch.rollout.values.double()
    residuals = returns - values
    terms = torch.stack([returns, returns**2, residuals, residuals**2, values]).reshape(5, -1)
    total = float(comm.sum(np.array([returns.numel()]))[0])  # collective
    sums = comm.exact_sum(terms.cpu().numpy()).tolist()  # collective
    return {
        "explained_variance": explained_variance(total, (sums[2], sums[3]), (sums[0], sums[1])),
        "mean_value": sums[4] / total,
        "mean_return_target": sums[0] / total,
    }
