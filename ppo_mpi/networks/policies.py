"""The policies over an action space: what the head's outputs mean, and what a suite is given.

Axes: N samples; A outputs of the head; K columns of an action; R numbers that are not whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_mpi.envs.spaces import (
    ActionSpec,
    Box,
    Composite,
    Discrete,
    MultiDiscrete,
    SingleSpec,
    num_columns,
)
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Distribution,
    MultiCategorical,
)
from ppo_mpi.networks.squashed import SquashedGaussian, gauss_hermite
from ppo_mpi.settings.network import NetworkConfig

MOST_SQUASHED = 0.999
"""Largest tanh that an action of others is taken for: what lies beyond would outweigh the rest."""


@dataclass(frozen=True)
class _Part:
    """Where one space of several has its numbers."""

    spec: SingleSpec
    outputs: slice
    noise: slice
    columns: slice
    reals: slice


class PolicyKind(nn.Module):
    """What all policies over an action space have in common. It has no parameters."""

    low: Tensor
    half_width: Tensor
    nodes: Tensor
    is_real: Tensor

    def __init__(self, spec: ActionSpec, config: NetworkConfig) -> None:
        """Prepare the distributions.

        Args:
            spec: the action space.
            config: how the numbers of boxes are bounded and what their deviations are made from.

        Raises:
            ConfigError: bounds into which nothing can be squashed.
        """
        super().__init__()
        self.spec = spec
        self._function, self._min_std = config.std_function, config.min_std
        self._initial_log_std = config.initial_log_std
        self._parts = _parts(spec.parts if isinstance(spec, Composite) else (spec,))
        self._squashes = config.box_actions == "squash" and spec.num_reals > 0
        boxes = [part.spec for part in self._parts if isinstance(part.spec, Box)]
        if self._squashes:
            _check_bounds(boxes)
            low = torch.tensor([x for box in boxes for x in box.low])
            high = torch.tensor([x for box in boxes for x in box.high])
            columns = [p.columns for p in self._parts if isinstance(p.spec, Box)]
            is_real = torch.cat([torch.arange(own.start, own.stop) for own in columns])
            self.register_buffer("low", low, persistent=False)
            self.register_buffer("half_width", (high - low) / 2, persistent=False)
            self.register_buffer("nodes", gauss_hermite(), persistent=False)
            self.register_buffer("is_real", is_real, persistent=False)

    def initial_parameter(self) -> Tensor:
        """Return what the deviations [R] are made from at first: each is e^initial_log_std."""
        first = self._initial_log_std
        if self._function == "softplus":
            first = _inverse_softplus(math.exp(first))
        return torch.full((self.spec.num_reals,), first)

    def distribution(self, outputs: Tensor, own: Tensor | None) -> Distribution:
        """Return the policy that the head's outputs stand for.

        Args:
            outputs: [N, A] float32.
            own: [R] float32, the policy's own parameter, behind the deviations; None if R = 0.
        """
        log_std = slope = None
        if own is not None:
            log_std, slope = self._deviations(own)
        if not isinstance(self.spec, Composite):
            return self._single(self._parts[0], outputs, log_std, slope)
        return Joint(
            [
                (part, self._single(part, outputs[:, part.outputs], log_std, slope))
                for part in self._parts
            ]
        )

    def for_suite(self, actions: Tensor) -> Tensor:
        """Return what a suite takes for actions [N, ...] as they are stored and learned from."""
        if not self._squashes:
            return actions
        bounded = torch.clamp(
            self.low + self.half_width * (1 + actions[:, self.is_real].tanh()),
            self.low,
            self.low + 2 * self.half_width,
        )
        return actions.index_copy(1, self.is_real, bounded)

    def own_fisher(self, own: Tensor) -> Tensor:
        """Return the Fisher information [R] of the policy's own parameter [R]; it is diagonal.

        It is 2 for the logarithm of a normal deviation, squashed or not, whatever is observed, and
        for what is behind the logarithm the slope squared as much.
        """
        slope = self._deviations(own)[1]
        return torch.full_like(own, 2.0) if slope is None else 2 * slope**2

    def from_suite(self, actions: Tensor) -> Tensor:
        """Return actions [N, ...] as they are stored, for those that a suite takes.

        A number at a bound stands for one just within it, as no finite one is squashed onto it.
        """
        if not self._squashes:
            return actions
        place = (actions[:, self.is_real] - self.low) / self.half_width - 1
        inside = place.clamp(-MOST_SQUASHED, MOST_SQUASHED)
        return actions.index_copy(1, self.is_real, inside.atanh())

    def _deviations(self, own: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return log_std [R], and its derivative by the parameter unless that is 1."""
        if self._function == "softplus":
            free = F.softplus(own)
            # What is too small for float32 has a logarithm that is none.
            least = max(self._min_std, torch.finfo(own.dtype).tiny)
            std = free.clamp(min=least)
            return std.log(), own.sigmoid() / std * (free >= least)
        if not self._min_std:
            return own, None
        least = math.log(self._min_std)
        return own.clamp(min=least), (own >= least).to(own.dtype)

    def _single(
        self, part: _Part, outputs: Tensor, log_std: Tensor | None, slope: Tensor | None
    ) -> Distribution:
        if isinstance(part.spec, Discrete):
            return Categorical(outputs)
        if isinstance(part.spec, MultiDiscrete):
            return MultiCategorical(outputs, part.spec.nums)
        if not isinstance(part.spec, Box):
            return Bernoulli(outputs)
        assert log_std is not None, "boxes have deviations"
        own_slope = None if slope is None else slope[part.reals]
        normal = DiagonalGaussian(outputs, log_std[part.reals], own_slope)
        if not self._squashes:
            return normal
        return SquashedGaussian(normal, self.half_width[part.reals].log(), self.nodes)


class Joint:
    """Actions of several spaces at once, independent of each other."""

    def __init__(self, parts: Sequence[tuple[_Part, Distribution]]) -> None:
        """Take each space with its distribution."""
        self._parts = parts

    @property
    def distributions(self) -> list[Distribution]:
        """Those of the parts, in order."""
        return [own for _, own in self._parts]

    def sample(self, noise: Tensor) -> Tensor:
        """Return actions [N, K] float32 from the parts' noise, side by side."""
        return _beside([own.sample(noise[:, part.noise]) for part, own in self._parts])

    def mode(self) -> Tensor:
        """Return the parts' most likely actions [N, K] float32."""
        return _beside([own.mode() for _, own in self._parts])

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(actions) [N] float32, nats, summed over parts; actions [N, K] float32."""
        found = [own.log_prob(_own_actions(part, actions)) for part, own in self._parts]
        return torch.stack(found).sum(0)

    def entropy(self) -> Tensor:
        """Return the entropy [N] float32, nats, summed over parts."""
        return torch.stack([own.entropy() for _, own in self._parts]).sum(0)

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Return the gradients by outputs [N, A] and own parameter [R]; see ``Distribution``."""
        found = [
            own.gradients(_own_actions(part, actions), of_log_prob, of_entropy)
            for part, own in self._parts
        ]
        by_outputs = torch.cat([gradients[0] for gradients in found], 1)
        by_own = [gradient for gradients in found for gradient in gradients[1:]]
        return (by_outputs, torch.cat(by_own)) if by_own else (by_outputs,)


def _parts(specs: Sequence[SingleSpec]) -> list[_Part]:
    parts, ends = [], [0, 0, 0, 0]
    for spec in specs:
        sizes = (spec.num_outputs, spec.noise_size, num_columns(spec), spec.num_reals)
        parts.append(_Part(spec, *(slice(a, a + n) for a, n in zip(ends, sizes, strict=True))))
        ends = [a + n for a, n in zip(ends, sizes, strict=True)]
    return parts


def _beside(actions: Sequence[Tensor]) -> Tensor:
    """Return parts' actions, [N] or [N, k] each, as columns [N, K] float32."""
    return torch.cat([own.reshape(own.shape[0], -1).float() for own in actions], 1)


def _own_actions(part: _Part, actions: Tensor) -> Tensor:
    """Return a part's actions, as its own distribution takes them, of [N, K] float32."""
    own = actions[:, part.columns].to(getattr(torch, part.spec.dtype))
    return own if part.spec.action_shape else own[:, 0]


def _check_bounds(boxes: Sequence[Box]) -> None:
    for box in boxes:
        for low, high in zip(box.low, box.high, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ConfigError(
                    f"box_actions=squash needs finite bounds, the lower one below the upper one, "
                    f"but an action of this environment lies in [{low}, {high}]; use "
                    "box_actions=clip"
                )


def _inverse_softplus(y: float) -> float:
    """Return x with log(1 + e^x) = y."""
    return y + math.log(-math.expm1(-y))
