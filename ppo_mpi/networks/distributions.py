"""Action distributions, and the noise that turns them into actions.

Noise is drawn outside, per environment, and only transformed here, so that an action does not
depend on which environments share its batch. Those of several spaces at once are in
policies.py, the squashed one in squashed.py. Axes: N samples; A action size; K choices or
switches at once; M actions of the largest choice.
"""

from __future__ import annotations

import itertools
import math
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.envs.spaces import ActionSpec, Box, Composite


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


def invert(log_probs: Tensor, noise: Tensor) -> Tensor:
    """Return [...] int64 by the inverse distribution function of noise [...] float64 in [0, 1).

    Args:
        log_probs: [..., A] float32, the logarithms of probabilities.
        noise: one number for each distribution.
    """
    probabilities = log_probs.double().exp()
    # torch has no deterministic cumsum for GPUs, and refuses.
    by_hand = probabilities.is_cuda and torch.are_deterministic_algorithms_enabled()
    cumulative = running_sums(probabilities) if by_hand else probabilities.cumsum(-1)
    below = cumulative <= noise.double()[..., None] * cumulative[..., -1:]
    return below.sum(-1).clamp(max=log_probs.shape[-1] - 1)


class Categorical:
    """One of A actions."""

    def __init__(self, logits: Tensor) -> None:
        """Take unnormalized log-probabilities [N, A] float32."""
        self.log_probs = torch.log_softmax(logits, dim=-1)

    def sample(self, noise: Tensor) -> Tensor:
        """Return actions [N] int64 by the inverse distribution function of noise [N, 1]."""
        return invert(self.log_probs, noise[:, 0])

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

    def __init__(self, mean: Tensor, log_std: Tensor, slope: Tensor | None = None) -> None:
        """Take means and logarithms of deviations.

        Args:
            mean: [N, A] float32.
            log_std: [A] float32.
            slope: [A] float32, the derivative of log_std by the parameter behind it, for
                ``gradients``; None where it is the parameter itself.
        """
        self.mean = mean
        self.log_std = log_std.expand_as(mean)
        self.std = log_std.exp()
        self._slope = slope

    def sample(self, noise: Tensor) -> Tensor:
        """Return actions [N, A] float32 from standard normal noise [N, A]."""
        return self.mean + self.std * noise.to(self.mean.dtype)

    def mode(self) -> Tensor:
        """Return the means [N, A] float32."""
        return self.mean

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log density [N] float32, nats, summed over the action's numbers."""
        z = (actions - self.mean) / self.std
        return (-0.5 * z * z - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Return the entropy [N] float32, nats, summed over the action's numbers."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Return the gradients by means [N, A] and parameter [A]; see ``Distribution``.

        d log p / d mean = z / std;  d log p / d log_std = z^2 - 1;  d H / d log_std = 1
        """
        z = (actions - self.mean) / self.std
        weighted = z * of_log_prob[:, None]
        by_log_std = (weighted * z).sum(0) + (len(z) * of_entropy - of_log_prob.sum())
        return weighted / self.std, self.by_parameter(by_log_std)

    def by_parameter(self, by_log_std: Tensor) -> Tensor:
        """Return the gradient [A] by the parameter behind log_std, from that by log_std."""
        return by_log_std if self._slope is None else by_log_std * self._slope


IMPOSSIBLE = -1e9
"""In place of the logits of actions that a choice does not have. Not infinite, so that what is
multiplied by their probability of 0 becomes 0."""


class MultiCategorical:
    """K choices at once, independent of each other."""

    def __init__(self, logits: Tensor, nums: tuple[int, ...]) -> None:
        """Take unnormalized log-probabilities.

        Args:
            logits: [N, sum(nums)] float32, those of one choice after the other.
            nums: how many actions each choice has.
        """
        self._nums, most = nums, max(nums)
        if min(nums) == most:
            wide = logits.unflatten(1, (len(nums), most))
        else:
            each = logits.split(nums, 1)
            wide = torch.stack(
                [F.pad(x, (0, most - x.shape[1]), value=IMPOSSIBLE) for x in each], 1
            )
        self.log_probs = torch.log_softmax(wide, dim=-1)
        """[N, K, M] float32, nats."""

    def sample(self, noise: Tensor) -> Tensor:
        """Return actions [N, K] int64 by the inverse distribution functions of noise [N, K]."""
        actions = [
            invert(self.log_probs[:, k, :num], noise[:, k]) for k, num in enumerate(self._nums)
        ]
        return torch.stack(actions, 1)

    def mode(self) -> Tensor:
        """Return the most likely actions [N, K] int64."""
        return self.log_probs.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(actions) [N] float32, nats, summed over choices; actions [N, K] int64."""
        return self.log_probs.gather(-1, actions[..., None])[..., 0].sum(-1)

    def entropy(self) -> Tensor:
        """Return the entropy [N] float32, nats, summed over choices."""
        return -(self.log_probs.exp() * self.log_probs).sum((1, 2))

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Return the gradient by the logits [N, sum(nums)]; each choice as in ``Categorical``."""
        probs = self.log_probs.exp()
        gradient = probs * -of_log_prob[:, None, None]
        of_actions = of_log_prob[:, None, None].expand(*actions.shape, 1)
        gradient.scatter_add_(2, actions[..., None], of_actions)
        if of_entropy:
            own = -(probs * self.log_probs).sum(-1, keepdim=True)
            gradient -= of_entropy * probs * (self.log_probs + own)
        return (torch.cat([gradient[:, k, :num] for k, num in enumerate(self._nums)], 1),)


class Bernoulli:
    """K switches, independent of each other."""

    def __init__(self, logits: Tensor) -> None:
        """Take log-odds [N, K] float32: log p / (1 - p) of being on."""
        self.logits = logits

    def sample(self, noise: Tensor) -> Tensor:
        """Return actions [N, K] int64, 1 where uniform noise [N, K] lies below p."""
        return (noise < self.logits.double().sigmoid()).long()

    def mode(self) -> Tensor:
        """Return the most likely actions [N, K] int64."""
        return (self.logits > 0).long()

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(actions) [N] float32, nats, summed over switches; actions [N, K] int64."""
        return (actions * self.logits - F.softplus(self.logits)).sum(-1)

    def entropy(self) -> Tensor:
        """Return the entropy [N] float32, nats, summed over switches."""
        return (F.softplus(self.logits) - self.logits * self.logits.sigmoid()).sum(-1)

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Return the gradient by the log-odds x, [N, K]; the others as in ``Distribution``.

        d log p(a) / dx = a - p;  d H / dx = -x p (1 - p)
        """
        p = self.logits.sigmoid()
        gradient = (actions - p) * of_log_prob[:, None]
        if of_entropy:
            gradient -= of_entropy * self.logits * p * (1 - p)
        return (gradient,)


def draw_noise(random: np.random.Generator, steps: int, spec: ActionSpec) -> np.ndarray:
    """Draw one environment's noise for ``steps`` actions.

    Drawn in one block or in several, it is the same: a rollout and an evaluation that draws step
    by step agree.

    Returns:
        [steps, noise_size] float64: uniform in [0, 1) for whole numbers, standard normal for the
        numbers of boxes.
    """
    if isinstance(spec, Box):
        return random.standard_normal((steps, spec.noise_size))
    noise = random.random((steps, spec.noise_size))
    if isinstance(spec, Composite):
        # A generator that drew normal numbers, too, would have to draw them step by step.
        is_normal = np.concatenate([[isinstance(p, Box)] * p.noise_size for p in spec.parts])
        if is_normal.any():
            inside = np.maximum(noise[:, is_normal], 2.0**-54)  # 0 stands for minus infinity
            noise[:, is_normal] = torch.special.ndtri(torch.from_numpy(inside)).numpy()
    return noise
