"""Learning from images that were changed at random: RAD, and data-regularized actor-critic.

Axes: N samples.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ppo_mpi.learning.algorithm import Algorithm, Loss, Terms
from ppo_mpi.learning.augmenting import Augmenter
from ppo_mpi.learning.losses import ClipRange
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.distributions import Distribution
from ppo_mpi.networks.divergence import kl_divergence
from ppo_mpi.settings.augmentation import AugmentationConfig
from ppo_mpi.settings.learning import LearningConfig


def rad_loss(
    model: ActorCritic,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | Tensor | None = None,
    *,
    loss: Loss,
    augmenter: Augmenter,
) -> tuple[Tensor, Tensor]:
    """Compute an algorithm's loss on changed images, and nothing else.

    The old log-probabilities and values stay those of the images as they were: the ratio is
    pi(a|f(s)) / pi_old(a|s), so that it is not 1 even before the first step.

    Args:
        model: policy and value.
        minibatch: N samples.
        config: the coefficients.
        clip_range: the clip as its schedule has it now.
        entropy_coef: likewise; None takes the config's.
        loss: the algorithm's.
        augmenter: changes the images.

    Returns:
        what ``loss`` does.

    Source:
        Laskin et al. 2020, arXiv:2004.14990, as arXiv:2006.12862 describes it for PPO (section 3).
    """
    changed = replace(minibatch, obs=augmenter(minibatch))
    return loss(model, changed, config, clip_range, entropy_coef)


def drac_loss(
    model: ActorCritic,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | Tensor | None = None,
    *,
    terms: Terms,
    augmenter: Augmenter,
    coef: float,
) -> tuple[Tensor, Tensor]:
    """Compute an algorithm's loss on images as they were, and how much their change matters.

        loss = the algorithm's + alpha (KL(pi(.|s) || pi(.|f(s))) + (V(s) - V(f(s)))^2)

    Policy and value of the images as they were are constants of both new terms. Values are in the
    unit of the model's head.

    Args:
        model: policy and value.
        minibatch: N samples.
        config: the coefficients.
        clip_range: the clip as its schedule has it now.
        entropy_coef: likewise; None takes the config's.
        terms: of the algorithm.
        augmenter: changes the images.
        coef: alpha.

    Returns:
        the loss [] float32, summed over the samples, and the sums of the algorithm's metrics and of
        the two new terms.

    Source:
        Raileanu et al. 2021, arXiv:2006.12862, equations of DrAC (section 3.2). Its published code
        samples an action of pi(.|s) instead of the KL, and halves the square.
    """
    outputs, values = model.outputs(minibatch.obs, minibatch.sequences)
    distribution = model.distribution(outputs)
    log_probs = distribution.log_prob(minibatch.actions)
    loss, sums = terms(distribution, log_probs, values, minibatch, config, clip_range, entropy_coef)
    changed, changed_values = model(augmenter(minibatch), minibatch.sequences)
    with torch.no_grad():
        held = model.distribution(outputs.detach())
    policy, value = regularizers(held, values.detach(), changed, changed_values)
    weighted = coef * (policy + value).sum()
    with torch.no_grad():
        own = torch.stack([policy, value]).sum(1)
        sums = torch.cat([sums[:1] + weighted, sums[1:], own])
    return loss + weighted, sums


def regularizers(
    distribution: Distribution, values: Tensor, changed: Distribution, changed_values: Tensor
) -> tuple[Tensor, Tensor]:
    """Return DrAC's two terms, which hold the changed images' policy and value to the others.

    Args:
        distribution: pi(.|s), without gradients.
        values: [N] float32, V(s), likewise.
        changed: pi(.|f(s)).
        changed_values: [N] float32, V(f(s)).

    Returns:
        [N] float32 each: the KL divergence, nats, and the squared difference.
    """
    return kl_divergence(distribution, changed), (values - changed_values) ** 2


def augmented(
    algorithm: Algorithm, augmenter: Augmenter | None, config: AugmentationConfig
) -> Algorithm:
    """Return an algorithm that learns from changed images; itself without an augmenter.

    Gradients by hand know nothing of it, and only autograd is left.
    """
    if augmenter is None:
        return algorithm
    if config.augmentation_method == "rad":
        own = partial(rad_loss, loss=algorithm.loss, augmenter=augmenter)
        return replace(algorithm, loss=own, gradients=None, terms=None)
    assert algorithm.terms is not None, "validate() refuses algorithms without"
    return replace(
        algorithm,
        gradients=None,
        terms=None,
        loss=partial(drac_loss, terms=algorithm.terms, augmenter=augmenter, coef=config.drac_coef),
        metrics=(*algorithm.metrics, "augmentation_policy_loss", "augmentation_value_loss"),
    )
