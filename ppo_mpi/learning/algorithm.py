"""What an algorithm adds to the loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from ppo_mpi.learning.adam import Adam
from ppo_mpi.learning.losses import ClipRange
from ppo_mpi.learning.optimizer import Optimizer
from ppo_mpi.learning.rmsprop import RMSprop
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.distributions import Distribution
from ppo_mpi.settings.learning import LearningConfig

LossGradients = Callable[
    [ActorCritic, Minibatch, LearningConfig, float, float], tuple[list[Tensor], Tensor]
]
Named = Sequence[tuple[str, nn.Parameter]]


def make_optimizer(named: Named, config: LearningConfig, apart: Collection[str]) -> Optimizer:
    """Return Adam or RMSprop, as the config has it, with its numbers.

    Args:
        named: names and parameters.
        config: the algorithm's numbers.
        apart: names of the parameters that may have a learning rate of their own.
    """
    if config.optimizer_name == "rmsprop":
        return RMSprop(named, config.rmsprop_alpha, config.rmsprop_epsilon, apart)
    return Adam(named, config.adam_epsilon, apart)


class Loss(Protocol):
    """Computes the loss of a minibatch."""

    def __call__(
        self,
        model: ActorCritic,
        minibatch: Minibatch,
        config: LearningConfig,
        clip_range: ClipRange,
        entropy_coef: float | Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss [] and the metrics, each summed over the samples.

        Clip and coefficient are as their schedules have them now; None takes the config's.
        """


class Terms(Protocol):
    """Computes the loss of a minibatch from what the model gives for it."""

    def __call__(
        self,
        distribution: Distribution,
        log_probs: Tensor,
        values: Tensor,
        minibatch: Minibatch,
        config: LearningConfig,
        clip_range: ClipRange,
        entropy_coef: float | Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return what the loss does."""


@dataclass(frozen=True)
class Algorithm:
    """What an algorithm adds to the loop."""

    loss: Loss
    """Gives the loss [] and the metrics [len(metrics)]."""
    metrics: tuple[str, ...]
    """Names of the metrics, in order; one is "loss", one is "approx_kl"."""
    gradients: LossGradients | None = None
    """The gradients of the loss in the order of the model's parameters, and the metrics, without
    autograd; for models that ``runs_directly``. None where only autograd knows them."""
    make_optimizer: Callable[[Named, LearningConfig, Collection[str]], Optimizer] = make_optimizer
    """Makes what changes the parameters by their gradients."""
    terms: Terms | None = None
    """The loss behind the model; None where nobody adds terms of the model's outputs to it."""
