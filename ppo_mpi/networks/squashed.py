"""Normal numbers squashed into bounds by a hyperbolic tangent.

What is stored is the number u before the tangent, so that no inverse of it is ever needed; the
suite gets the action

    a = low + (high - low) / 2 * (1 + tanh u),  u ~ N(mean, std^2)

Axes: N samples; A action size; Q nodes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.networks.distributions import DiagonalGaussian

NODES = 16
"""Of the quadrature of the entropy."""


def log_slope(u: Tensor) -> Tensor:
    """Return log(1 - tanh(u)^2), without the cancellation and the overflow of that formula.

    1 - tanh(u)^2 = 4 / (e^u + e^-u)^2
    """
    return 2 * (math.log(2) - u - F.softplus(-2 * u))


def gauss_hermite() -> Tensor:
    """Return nodes x and weights w, [2, Q] float32: E f(X) = sum w f(x) of a standard normal X.

    Source:
        Abramowitz and Stegun 1964, 25.4.46.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return torch.tensor(np.stack([nodes, weights / weights.sum()]), dtype=torch.float32)


class SquashedGaussian:
    """A independent numbers, each within its bounds.

    Densities are those of the actions in the suite's units. The change of variables adds to a log
    density what does not depend on the parameters, as u is given: their gradient is the normal
    density's. The entropy is that of the normal numbers plus the mean of log |da / du|, which has
    no closed form: it is a sum over the nodes of Gauss and Hermite. So it depends on mean and
    deviation as the entropy itself does (an estimate at the sample would not), and without noise.

    Source:
        Haarnoja et al. 2018, arXiv:1801.01290, appendix C, for the density.
    """

    def __init__(self, normal: DiagonalGaussian, log_half: Tensor, nodes: Tensor) -> None:
        """Take what is to be squashed.

        Args:
            normal: of u.
            log_half: [A] float32, the logarithm of half the distance between the bounds.
            nodes: as ``gauss_hermite`` gives them.
        """
        self.normal = normal
        self._log_half = log_half
        self._nodes = nodes

    def sample(self, noise: Tensor) -> Tensor:
        """Return u [N, A] float32 from standard normal noise [N, A]."""
        return self.normal.sample(noise)

    def mode(self) -> Tensor:
        """Return the means of u [N, A]: the medians of the actions.

        The density of the actions may have two peaks, at the bounds, around a mean of 0.
        """
        return self.normal.mode()

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log density [N] float32, nats, of the actions that u [N, A] stand for."""
        return self.normal.log_prob(actions) - (log_slope(actions) + self._log_half).sum(-1)

    def entropy(self) -> Tensor:
        """Return the entropy [N] float32, nats, summed over the action's numbers."""
        nodes, weights = self._nodes
        mean_slope = log_slope(self._at(nodes)) @ weights
        return self.normal.entropy() + (mean_slope + self._log_half).sum(-1)

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Return the gradients by means [N, A] and parameter [A]; see ``Distribution``.

        d log(1 - tanh(u)^2) / du = -2 tanh u;  du / d mean = 1;  du / d log_std = std x
        """
        by_mean, by_own = self.normal.gradients(actions, of_log_prob, of_entropy)
        if of_entropy:
            nodes, weights = self._nodes
            slopes = -2 * self._at(nodes).tanh()
            by_mean = by_mean + of_entropy * (slopes @ weights)
            by_log_std = (slopes @ (weights * nodes)).sum(0) * self.normal.std
            by_own = by_own + self.normal.by_parameter(of_entropy * by_log_std)
        return by_mean, by_own

    def _at(self, nodes: Tensor) -> Tensor:
        """Return u [N, A, Q] at the nodes."""
        return self.normal.mean[..., None] + self.normal.std[:, None] * nodes
