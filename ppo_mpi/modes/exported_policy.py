"""A trained policy as one module that takes raw observations: what an exported file holds.

Nothing in it but torch's own operators, so that it can be traced: no kernels of this package, no
numpy. Axes: N observations; A policy outputs; S numbers of a memory; F numbers of all vectors.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ppo_mpi.agent import Agent
from ppo_mpi.envs.spaces import Box, Composite, ObservationSpec
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.networks.distributions import Categorical, DiagonalGaussian
from ppo_mpi.networks.policies import Joint
from ppo_mpi.networks.recurrent import Recurrent
from ppo_mpi.networks.squashed import SquashedGaussian


class ExportedPolicy(nn.Module):
    """Observations (and the memory of a recurrent policy) to actions and what is behind them."""

    low: Tensor
    high: Tensor

    def __init__(self, agent: Agent) -> None:
        """Take an agent's parts; its model is to calculate in float32.

        Args:
            agent: who is exported.
        """
        super().__init__()
        model = agent.model
        self.model = model
        self.spec = model.obs_spec
        self.normalizer = None
        if agent.normalizer is not None:
            self.normalizer = _Normalizer(agent.normalizer)
        bounds = _bounds(agent)
        self.register_buffer("low", bounds[0])
        self.register_buffer("high", bounds[1])
        self.clips = bool((bounds[0].isfinite() | bounds[1].isfinite()).any())
        self.input_names = input_names(self.spec)
        self.output_names = ["action", "policy_outputs", "value"]
        if type(model.distribution(torch.zeros(1, model.action_spec.num_outputs))) is Categorical:
            self.output_names.append("probabilities")
        if model.memory_size:
            self.input_names.append("memory")
            self.output_names.append("next_memory")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors that ``output_names`` names, for those that ``input_names`` names."""
        model = self.model
        prepared = self._prepared(inputs)
        if model.trunk is not None:
            prepared = model.trunk(prepared)
        features = model.torso(prepared)
        value_features = features if model.value_torso is None else model.value_torso(prepared)
        after = []
        if model.recurrent is not None:
            memory = inputs[-1]
            own, size = model.recurrent, model.recurrent.memory_size
            features, kept = one_step(own, features, memory[:, :size])
            after.append(kept)
            if model.value_recurrent is None:
                value_features = features
            else:
                value_features, kept = one_step(
                    model.value_recurrent, value_features, memory[:, size:]
                )
                after.append(kept)
        outputs = model.policy_head(features)
        values = model.in_returns(model.value_head(value_features)[:, 0])
        distribution = model.distribution(outputs)
        action = model.policy.for_suite(distribution.mode())
        if self.clips:
            action = torch.minimum(torch.maximum(action, self.low), self.high)
        found = [action, outputs, values]
        if isinstance(distribution, Categorical):
            found.append(distribution.log_probs.exp())
        if after:
            found.append(torch.cat(after, 1))
        return tuple(found)

    def _prepared(self, inputs: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return what a torso takes."""
        if self.spec.is_image:
            return _as_image(inputs[0])
        if not self.spec.parts:
            return inputs[0] if self.normalizer is None else self.normalizer(inputs[0])
        parts = list(zip(self.spec.parts, inputs, strict=False))
        vectors = [own.flatten(1) for part, own in parts if not part.is_image]
        images = [_as_image(own) for part, own in parts if part.is_image]
        if not vectors:
            return (inputs[0].new_zeros(inputs[0].shape[0], 0, dtype=torch.float32), *images)
        joined = torch.cat(vectors, 1)
        return (joined if self.normalizer is None else self.normalizer(joined), *images)


class _Normalizer(nn.Module):
    """What ``ObservationNormalizer.normalize`` does, in float64 as there."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, own: ObservationNormalizer) -> None:
        super().__init__()
        self.clip, self.only_clips = own.clip, own.only_clips
        deviation = np.sqrt(own.moments.variance + 1e-8)
        self.register_buffer("mean", torch.from_numpy(np.array(own.moments.mean, np.float64)))
        self.register_buffer("deviation", torch.from_numpy(np.array(deviation, np.float64)))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map [N, F] float32 to [N, F] float32."""
        if self.only_clips:
            return vectors.clamp(-self.clip, self.clip)
        scaled = (vectors.double() - self.mean) / self.deviation
        return scaled.clamp(-self.clip, self.clip).float()


def one_step(layer: Recurrent, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a layer gives for one step of N episodes, and what it remembers then.

    Args:
        layer: of gated recurrent units, or of long short-term memory.
        features: [N, F] float32.
        memory: [N, S] float32.
    """
    size = layer.feature_size
    missing = layer.layer.input_size - features.shape[1]
    inputs = nn.functional.pad(features, (0, missing)) if missing else features
    own = layer.layer
    before = memory[:, :size]
    of_input, of_memory = (
        (own.get_parameter(f"weight_{name}_l0"), own.get_parameter(f"bias_{name}_l0"))
        for name in ("ih", "hh")
    )
    by_input = nn.functional.linear(inputs, *of_input)
    by_memory = nn.functional.linear(before, *of_memory)
    if layer.memory_size == size:
        reset, update, new = by_input.split(size, 1)
        own_reset, own_update, own_new = by_memory.split(size, 1)
        update = (update + own_update).sigmoid()
        new = (new + (reset + own_reset).sigmoid() * own_new).tanh()
        after = new + update * (before - new)
        return after, after
    enter, forget, cell, leave = (by_input + by_memory).split(size, 1)
    content = forget.sigmoid() * memory[:, size:] + enter.sigmoid() * cell.tanh()
    after = leave.sigmoid() * content.tanh()
    return after, torch.cat([after, content], 1)


def _as_image(pixels: Tensor) -> Tensor:
    """Return [N, C, H, W] float32 in [0, 1] of [N, H, W, C] uint8."""
    return pixels.permute(0, 3, 1, 2).float() * (1 / 255)


def _bounds(agent: Agent) -> tuple[Tensor, Tensor]:
    """Return the least and the largest number of each of an action's columns, [K] float32."""
    spec = agent.model.action_spec
    low: list[float] = []
    high: list[float] = []
    for part in spec.parts if isinstance(spec, Composite) else (spec,):
        if isinstance(part, Box):
            low += part.low
            high += part.high
        else:
            columns = math.prod(part.action_shape)
            low += [-math.inf] * columns
            high += [math.inf] * columns
    return torch.tensor(low, dtype=torch.float32), torch.tensor(high, dtype=torch.float32)


def input_names(spec: ObservationSpec) -> list[str]:
    """Return the names of the inputs that are observations: ``observation``, or those of parts.

    Names that differ in other signs alone get a number, as ``a.b`` and ``a_b`` do.
    """
    if not spec.parts:
        return ["observation"]
    names: list[str] = []
    for part in spec.parts:
        plain = f"observation_{re.sub('[^A-Za-z0-9_]', '_', part.name)}"
        numbered = (f"{plain}_{number}" for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([plain], numbered) if name not in names))
    return names


def as_inputs(spec: ObservationSpec, obs: np.ndarray) -> list[np.ndarray]:
    """Return raw observations [N, ...] as the inputs that are observations."""
    return [np.ascontiguousarray(own) for own in spec.unpack(obs).values()] if spec.parts else [obs]


def deviations(agent: Agent) -> list[float]:
    """Return log std of the numbers of an action that are not whole, in their order."""
    model = agent.model
    with torch.no_grad():
        found = model.distribution(torch.zeros(1, model.action_spec.num_outputs))
        every = found.distributions if isinstance(found, Joint) else [found]
        normals = [own.normal if isinstance(own, SquashedGaussian) else own for own in every]
        own = [x.log_std[0] for x in normals if isinstance(x, DiagonalGaussian)]
    return torch.cat(own).tolist() if own else []
