"""ACKTR: actor-critic by the natural gradient within a trust region. A2C's loss, other steps.

Axes: N samples.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import Tensor

from ppo_mpi.algorithms.a2c import A2C
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.learning.algorithm import Algorithm, Named, Place
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.natural_gradient import NaturalGradient
from ppo_mpi.learning.rollout import Batch
from ppo_mpi.learning.update import pieces_for
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.acktr import AcktrConfig
from ppo_mpi.settings.learning import LearningConfig


def observe_curvature(
    learner: Learner, batch: Batch, samples: Tensor, place: Place, comm: Communicator
) -> None:
    """Let the optimizer take a minibatch's curvature in. Collective.

    Args:
        learner: takes the step next.
        batch: this rank's share.
        samples: [N] int64, this rank's samples of the minibatch; may be empty.
        place: where in the job.
        comm: the job.
    """
    optimizer, workers = learner.optimizer, learner.workers
    assert isinstance(optimizer, NaturalGradient), "with_curvature() makes the optimizer"
    pieces = pieces_for(workers, batch, samples, learner.microbatch_size)
    optimizer.observe(batch, pieces, place, workers, comm)  # collective


def with_curvature(
    algorithm: Algorithm,
    model: ActorCritic,
    settings: AcktrConfig,
    sums: type[FlatGradients],
) -> Algorithm:
    """Return ACKTR with the optimizer of a model.

    Args:
        algorithm: ``ACKTR``.
        model: what learns.
        settings: of the curvature and the trust region.
        sums: what adds up gradients over the job, and factors.

    Raises:
        ConfigError: when the optimizer is made, if a parameter is of no layer that is known.
    """

    def make(named: Named, _: LearningConfig, apart: Collection[str]) -> NaturalGradient:
        return NaturalGradient(model, settings, named, apart, lambda factors: sums(factors, ()))

    return replace(algorithm, make_optimizer=make)


ACKTR = replace(
    A2C,
    before_step=observe_curvature,
    of_optimizer=NaturalGradient.metrics,
    terms=None,
)
