"""Proximal policy optimization: the loss.

Axes: N samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppo_mpi.learning.algorithm import Algorithm
from ppo_mpi.learning.losses import (
    ClipRange,
    approximate_kl,
    clipped_fraction,
    clipped_policy_loss,
    clipped_policy_slope,
    value_loss,
    value_slope,
)
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.direct import DirectPass
from ppo_mpi.networks.distributions import Distribution
from ppo_mpi.settings.learning import LearningConfig


def ppo_loss(
    model: ActorCritic,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute PPO's loss, summed over the samples.

    ``ppo_gradients`` is its derivative, written out: both change together.

        loss = clipped policy loss + value_coef * value loss - entropy_coef * entropy

    Args:
        model: policy and value.
        minibatch: N samples.
        config: the coefficients.
        clip_range: the clip as its schedule has it now.
        entropy_coef: likewise; None takes the config's.

    Returns:
        the loss [] float32, summed over the samples (the job divides by its own count), and the
        sums of the metrics named in ``PPO``, [6] float32.

    Source:
        Schulman et al. 2017, arXiv:1707.06347, eq. 9.
    """
    distribution, values = model(minibatch.obs, minibatch.sequences)
    log_probs = distribution.log_prob(minibatch.actions)
    return ppo_terms(distribution, log_probs, values, minibatch, config, clip_range, entropy_coef)


def ppo_terms(
    distribution: Distribution,
    log_probs: Tensor,
    values: Tensor,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return what ``ppo_loss`` does, from what the model gives for the minibatch."""
    if entropy_coef is None:
        entropy_coef = config.entropy_coef
    policy = clipped_policy_loss(
        log_probs, minibatch.old_log_probs, minibatch.advantages, clip_range
    )
    value = value_loss(
        values,
        minibatch.old_values,
        minibatch.returns,
        clip_range if config.clip_values else None,
        config.value_loss,
        config.huber_delta,
    )
    entropy = distribution.entropy()
    losses = policy + config.value_coef * value - entropy_coef * entropy
    with torch.no_grad():
        kl = approximate_kl(log_probs, minibatch.old_log_probs)
        clipped = clipped_fraction(log_probs, minibatch.old_log_probs, clip_range)
        sums = torch.stack([losses, policy, value, entropy, kl, clipped]).sum(1)
    return losses.sum(), sums


@torch.no_grad()
def ppo_gradients(
    model: ActorCritic,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Compute the gradient of ``ppo_loss`` by hand, for a model that ``runs_directly``.

    Args:
        model: policy and value.
        minibatch: N samples.
        config: the coefficients.
        clip_range: the clip as its schedule has it now.
        entropy_coef: likewise; None takes the config's.

    Returns:
        the gradients of the summed loss, in the order of the model's parameters, and the sums of
        the metrics, as ``ppo_loss`` returns them.
    """
    forward = DirectPass(model, minibatch.obs)
    values, distribution = forward.values, model.distribution(forward.outputs)
    log_probs = distribution.log_prob(minibatch.actions)
    if entropy_coef is None:
        entropy_coef = config.entropy_coef
    _, sums = ppo_terms(
        distribution, log_probs, values, minibatch, config, clip_range, entropy_coef
    )
    by_log_probs = clipped_policy_slope(
        log_probs, minibatch.old_log_probs, minibatch.advantages, clip_range
    )
    value_clip = clip_range if config.clip_values else None
    by_values = value_slope(
        values,
        minibatch.old_values,
        minibatch.returns,
        value_clip,
        config.value_loss,
        config.huber_delta,
    )
    by_outputs, *own = distribution.gradients(minibatch.actions, by_log_probs, -entropy_coef)
    return own + forward.gradients(by_outputs, config.value_coef * by_values), sums


PPO = Algorithm(
    loss=ppo_loss,
    metrics=("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"),
    gradients=ppo_gradients,
    terms=ppo_terms,
)
