"""Value targets in the unit of a value head that learns normalized ones.

Axes: T steps; B environments on this rank.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.normalizers import RunningMoments, job_moments
from ppo_mpi.learning.rollout import Batch
from ppo_mpi.networks.actor_critic import ActorCritic


@torch.no_grad()
def normalized_targets(model: ActorCritic, batch: Batch, comm: Communicator) -> Batch:
    """Return the batch with values and targets in the unit of the head. Collective.

    The statistics first take in the job's targets, so that already the first ones are learned
    near 0. The old values keep what the head gave, however the statistics have moved since: the
    value clip bounds what learning changes.

    Args:
        model: one without a scale leaves the batch as it is; that of others is changed.
        batch: this rank's share; the rollout's values are overwritten where they lie, as what is
            recorded on a GPU reads them there.
        comm: the job.
    """
    scale = model.value_scale
    if scale is None:
        return batch
    values = batch.rollout.values
    values.copy_(scale.normalized(values))
    moments = RunningMoments()
    buffers = dict(scale.named_buffers())
    moments.load_state_dict({name: buffer.cpu().numpy() for name, buffer in buffers.items()})
    targets = batch.returns.double().cpu().numpy().reshape(-1)
    moments.merge(*job_moments(targets, comm))  # collective
    for name, number in moments.state_dict().items():
        buffers[name].copy_(torch.as_tensor(number))
    return replace(batch, returns=scale.normalized(batch.returns))
