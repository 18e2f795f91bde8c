"""How far two policies are apart: the exact KL divergence, in closed form.

Axes: N samples; A action size; K choices of M actions each.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.networks.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Distribution,
    MultiCategorical,
)
from ppo_mpi.networks.policies import Joint
from ppo_mpi.networks.squashed import SquashedGaussian


def kl_divergence(old: Distribution, new: Distribution) -> Tensor:
    """Return KL(old || new) [N] float32, nats, of two policies over one action space.

        choices   sum p_old (log p_old - log p_new)
        normals   sum log(s_new / s_old) + (s_old^2 + (m_old - m_new)^2) / (2 s_new^2) - 1 / 2

    Independent parts add up. A squashing that both share changes nothing: both densities are
    multiplied by the same slope.

    Args:
        old: over which the mean is taken.
        new: of the same kind.
    """
    assert type(old) is type(new), "two policies over one action space are of one kind"
    if isinstance(old, Joint) and isinstance(new, Joint):
        pairs = zip(old.distributions, new.distributions, strict=True)
        return sum((kl_divergence(*pair) for pair in pairs), start=old.entropy().new_zeros(()))
    if isinstance(old, SquashedGaussian) and isinstance(new, SquashedGaussian):
        return kl_divergence(old.normal, new.normal)
    if isinstance(old, DiagonalGaussian) and isinstance(new, DiagonalGaussian):
        distance = ((old.mean - new.mean) / new.std) ** 2
        ratio = old.log_std - new.log_std
        return (0.5 * ((2 * ratio).exp() + distance - 1) - ratio).sum(-1)
    if isinstance(old, Bernoulli) and isinstance(new, Bernoulli):
        # log p(on) = x - softplus(x), log p(off) = -softplus(x)
        change = old.logits.sigmoid() * (old.logits - new.logits)
        return (change - F.softplus(old.logits) + F.softplus(new.logits)).sum(-1)
    if isinstance(old, Categorical) and isinstance(new, Categorical):
        return (old.log_probs.exp() * (old.log_probs - new.log_probs)).sum(-1)
    assert isinstance(old, MultiCategorical), f"there is no divergence of {type(old).__name__}"
    assert isinstance(new, MultiCategorical), "they are of one kind"
    return (old.log_probs.exp() * (old.log_probs - new.log_probs)).sum((1, 2))
