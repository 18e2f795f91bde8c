"""Advantage actor-critic, A2C: the loss.

Axes: N samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppo_mpi.learning.algorithm import Algorithm
from ppo_mpi.learning.losses import (
    ClipRange,
    approximate_kl,
    policy_gradient_loss,
    value_loss,
    value_slope,
)
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.direct import DirectPass
from ppo_mpi.networks.distributions import Distribution
from ppo_mpi.settings.learning import LearningConfig


def a2c_loss(
    model: ActorCritic,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute A2C's loss, summed over the samples.

    ``a2c_gradients`` is its derivative, written out: both change together.

        loss = -A log pi(a|s) + value_coef * value loss - entropy_coef * entropy

    The advantages A are those of the rollout. Published code takes the values anew for them, R -
    V(s); as nothing is learned between collecting and this one pass, they are the same numbers.

    Args:
        model: policy and value.
        minibatch: N samples.
        config: the coefficients.
        clip_range: not read; a policy that has not moved has nothing to clip.
        entropy_coef: as its schedule has it now; None takes the config's.

    Returns:
        the loss [] float32, summed over the samples (the job divides by its own count), and the
        sums of the metrics named in ``A2C``, [5] float32.

    Source:
        Mnih et al. 2016, arXiv:1602.01783, algorithm S3, by actors that wait for each other; the
        sum of the terms as in ikostrikov/pytorch-a2c-ppo-acktr-gail.
    """
    distribution, values = model(minibatch.obs, minibatch.sequences)
    log_probs = distribution.log_prob(minibatch.actions)
    return a2c_terms(distribution, log_probs, values, minibatch, config, clip_range, entropy_coef)


def a2c_terms(
    distribution: Distribution,
    log_probs: Tensor,
    values: Tensor,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return what ``a2c_loss`` does, from what the model gives for the minibatch."""
    if entropy_coef is None:
        entropy_coef = config.entropy_coef
    policy = policy_gradient_loss(log_probs, minibatch.advantages)
    value = value_loss(
        values, minibatch.old_values, minibatch.returns, None, config.value_loss, config.huber_delta
    )
    entropy = distribution.entropy()
    losses = policy + config.value_coef * value - entropy_coef * entropy
    with torch.no_grad():
        # Of the policy that collected and the one that learns, before the step: 0 but for
        # rounding, or for images that were changed in between.
        kl = approximate_kl(log_probs, minibatch.old_log_probs)
        sums = torch.stack([losses, policy, value, entropy, kl]).sum(1)
    return losses.sum(), sums


@torch.no_grad()
def a2c_gradients(
    model: ActorCritic,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Compute the gradient of ``a2c_loss`` by hand, for a model that ``runs_directly``.

    Args:
        model: policy and value.
        minibatch: N samples.
        config: the coefficients.
        clip_range: not read.
        entropy_coef: as its schedule has it now; None takes the config's.

    Returns:
        the gradients of the summed loss, in the order of the model's parameters, and the sums of
        the metrics, as ``a2c_loss`` returns them.
    """
    forward = DirectPass(model, minibatch.obs)
    values, distribution = forward.values, model.distribution(forward.outputs)
    log_probs = distribution.log_prob(minibatch.actions)
    if entropy_coef is None:
        entropy_coef = config.entropy_coef
    _, sums = a2c_terms(
        distribution, log_probs, values, minibatch, config, clip_range, entropy_coef
    )
    by_values = value_slope(
        values, minibatch.old_values, minibatch.returns, None, config.value_loss, config.huber_delta
    )
    by_outputs, *own = distribution.gradients(
        minibatch.actions, -minibatch.advantages, -entropy_coef
    )
    return own + forward.gradients(by_outputs, config.value_coef * by_values), sums


A2C = Algorithm(
    loss=a2c_loss,
    metrics=("loss", "policy_loss", "value_loss", "entropy", "approx_kl"),
    gradients=a2c_gradients,
    terms=a2c_terms,
)
