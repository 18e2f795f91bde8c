"""Any algorithm's loss beside auxiliary tasks, each reaching its own part of the model.

Axes: N samples.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from ppo_mpi.learning.algorithm import Algorithm, Loss
from ppo_mpi.learning.losses import ClipRange
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.learning.tasks import Tasks
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.routed import RoutedPass
from ppo_mpi.settings.auxiliary import AuxiliaryConfig
from ppo_mpi.settings.learning import LearningConfig


def loss_with_tasks(
    model: ActorCritic,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | Tensor | None = None,
    *,
    loss: Loss,
    reaching: Collection[str],
    tasks: Tasks | None,
) -> tuple[Tensor, Tensor]:
    """Compute an algorithm's loss and those of the auxiliary heads, from one pass.

        loss = the algorithm's + auxiliary_coef * sum over heads of weight * loss of its truth

    Args:
        model: policy, value and heads.
        minibatch: N samples, with their truths.
        config: the coefficients.
        clip_range: the clip as its schedule has it now.
        entropy_coef: likewise; None takes the config's.
        loss: the algorithm's.
        reaching: the losses whose gradients reach the shared layers.
        tasks: the heads' losses; None without heads.

    Returns:
        what ``loss`` does; behind its metrics those of the heads.

    Source:
        The sum, its weight and the heads' errors are those of Andrew Liu's fork of
        pytorch-a2c-ppo-acktr-gail. There cross entropy takes probabilities for logits; here they
        are logits.
    """
    routed = RoutedPass(model, minibatch.obs, minibatch.sequences, reaching)
    own, sums = loss(cast(ActorCritic, routed), minibatch, config, clip_range, entropy_coef)
    if tasks is None:
        return own, sums
    if minibatch.truths is None:  # samples of noise, whose time is measured
        return own, torch.cat([sums, sums.new_zeros(len(tasks.statistics))])
    more, their_sums = tasks.losses(routed.answers(), minibatch.truths)
    sums = torch.cat([sums[:1] + their_sums[:1], sums[1:], their_sums])
    return own + more, sums


def with_tasks(algorithm: Algorithm, config: AuxiliaryConfig, tasks: Tasks | None) -> Algorithm:
    """Return an algorithm that learns auxiliary tasks too, and routes its gradients.

    It is itself where neither is asked for. Gradients by hand know nothing of either, and only
    autograd is left.
    """
    if tasks is None and not config.blocks_gradients:
        return algorithm
    assert algorithm.metrics[0] == "loss", "the heads' losses are part of it"
    return replace(
        algorithm,
        loss=partial(
            loss_with_tasks,
            loss=algorithm.loss,
            reaching=frozenset(config.shared_gradients),
            tasks=tasks,
        ),
        metrics=(*algorithm.metrics, *(tasks.statistics if tasks is not None else ())),
        gradients=None,
    )
