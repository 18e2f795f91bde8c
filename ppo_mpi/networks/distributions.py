"""Action distributions, and the noise that turns them into actions.

Noise is drawn outside, per environment, and only transformed here, so that an action does not
depend on which environments share its batch. Axes: N samples; A action size.
"""

from __future__ import annotations

import itertools
import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.envs.base import ActionSpec, Discrete


class Distribution(Protocol):
    """What a policy head gives."""

    def sample(self, noise: Tensor) -> Tensor:
        """Return one action for each row of noise."""

    def mode(self) -> Tensor:
        """Return the most likely actions."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return [N] float32, nats."""

    def entropy(self) -> Tensor:
        """Return [N] float32, nats."""

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Return the gradients of what the policy was made from, by the chain rule.

        Args:
            actions: as in ``log_prob``.
            of_log_prob: [N] float32, the gradient of a sum over samples by each log_prob.
            of_entropy: the same by the entropy, one number for all samples.

        Returns:
            [N, A] float32 by the head's outputs; behind it those by the policy's own parameters.
        """


def running_sums(x: Tensor) -> Tensor:
    """Return what ``x.cumsum(-1)`` does, by additions one after the other."""
    return torch.stack(list(itertools.accumulate(x.unbind(-1))), -1)


class Categorical:
    """One of A actions."""

    def __init__(self, logits: Tensor) -> None:
        """Take unnormalized log-probabilities [N, A] float32."""
        self.log_probs = torch.log_softmax(logits, dim=-1)

    def sample(self, noise: Tensor) -> Tensor:
        """Return actions [N] int64 by the inverse distribution function of noise [N, 1]."""
        probabilities = self.log_probs.double().exp()
        # torch has no deterministic cumsum for GPUs, and refuses.
        by_hand = probabilities.is_cuda and torch.are_deterministic_algorithms_enabled()
        cumulative = running_sums(probabilities) if by_hand else probabilities.cumsum(-1)
        below = cumulative <= noise.double() * cumulative[:, -1:]
        return below.sum(-1).clamp(max=self.log_probs.shape[-1] - 1)

    def mode(self) -> Tensor:
        """Return the most likely actions [N] int64."""
        return self.log_probs.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(actions) [N] float32, nats; actions [N] int64."""
        return self.log_probs.gather(-1, actions[:, None])[:, 0]

    def entropy(self) -> Tensor:
        """Return the entropy [N] float32, nats."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Return the gradient by the logits, [N, A]; the other arguments as in ``Distribution``.

        d log p_a / d x_i = [i = a] - p_i;  d H / d x_i = -p_i (log p_i + H)
        """
        probs = self.log_probs.exp()
        gradient = probs * -of_log_prob[:, None]
        gradient.scatter_add_(1, actions[:, None], of_log_prob[:, None])
        if of_entropy:
            gradient -= of_entropy * probs * (self.log_probs + self.entropy()[:, None])
        return (gradient,)


class DiagonalGaussian:
    """A independent normal numbers; not squashed (the suites clip to the bounds)."""

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        """Take means [N, A] and logarithms of deviations [A], float32."""
        self.mean = mean
        self.log_std = log_std.expand_as(mean)
        self._std = log_std.exp()

    def sample(self, noise: Tensor) -> Tensor:
        """Return actions [N, A] float32 from standard normal noise [N, A]."""
        return self.mean + self._std * noise

    def mode(self) -> Tensor:
        """Return the means [N, A] float32."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log density [N] float32, nats, summed over the action's numbers."""
        z = (actions - self.mean) / self._std
        return (-0.5 * z * z - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Return the entropy [N] float32, nats, summed over the action's numbers."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Return the gradients by the means [N, A] and by log_std [A]; see ``Distribution``.

        d log p / d mean = z / std;  d log p / d log_std = z^2 - 1;  d H / d log_std = 1
        """
        z = (actions - self.mean) / self._std
        weighted = z * of_log_prob[:, None]
        by_log_std = (weighted * z).sum(0) + (len(z) * of_entropy - of_log_prob.sum())
        return weighted / self._std, by_log_std


def draw_noise(random: np.random.Generator, steps: int, spec: ActionSpec) -> np.ndarray:
    """Draw one environment's noise for ``steps`` actions.

    Returns:
        [steps, 1] float64 uniform in [0, 1) for discrete actions; [steps, A] float64 standard
        normal for continuous ones.
    """
    if isinstance(spec, Discrete):
        return random.random((steps, 1))
    return random.standard_normal((steps, len(spec.low)))
