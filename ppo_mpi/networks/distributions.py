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


class DiagonalGaussian:
    """A independent normal numbers; not squashed (the suites clip to the bounds)."""

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        """Take means [N, A] and logarithms of deviations [A], float32."""
        self.mean = mean
        self.log_std = log_std.expand_as(mean)

    def sample(self, noise: Tensor) -> Tensor:
        """Return actions [N, A] float32 from standard normal noise [N, A]."""
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> Tensor:
        """Return the means [N, A] float32."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log density [N] float32, nats, summed over the action's numbers."""
        z = (actions - self.mean) / self.log_std.exp()
        return (-0.5 * z * z - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Return the entropy [N] float32, nats, summed over the action's numbers."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


def draw_noise(random: np.random.Generator, steps: int, spec: ActionSpec) -> np.ndarray:
    """Draw one environment's noise for ``steps`` actions.

    Returns:
        [steps, 1] float64 uniform in [0, 1) for discrete actions; [steps, A] float64 standard
        normal for continuous ones.
    """
    if isinstance(spec, Discrete):
        return random.random((steps, 1))
    return random.standard_normal((steps, len(spec.low)))
