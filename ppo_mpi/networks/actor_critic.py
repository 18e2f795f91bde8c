"""Torso(s), a policy head and a value head in one model.

Axes: N samples; A action size; H, W, C image; F features of a vector; K sequences of samples; S
numbers of a memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ppo_mpi.envs.base import ActionSpec, ObservationSpec
from ppo_mpi.networks.activations import activations_of
from ppo_mpi.networks.auxiliary_heads import make_heads
from ppo_mpi.networks.combined import unpacked
from ppo_mpi.networks.direct import DirectPass, runs_directly
from ppo_mpi.networks.distributions import Distribution
from ppo_mpi.networks.initialization import initialize_head
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.networks.mlp import Mlp, make_parted_torsos
from ppo_mpi.networks.policies import PolicyKind
from ppo_mpi.networks.recurrent import Sequences, make_recurrent
from ppo_mpi.networks.value_scale import ValueScale
from ppo_mpi.registry import NETWORKS, lookup
from ppo_mpi.settings.heads import Head
from ppo_mpi.settings.network import NetworkConfig


def torso_name(obs_spec: ObservationSpec, config: NetworkConfig) -> str:
    """Return the name of the torso that the config means for these observations."""
    if obs_spec.parts:  # which knows what the config's name means for the images among them
        return "combined"
    if config.network == "auto":
        return "impala" if obs_spec.is_image else "mlp"
    return config.network


class ActorCritic(nn.Module):
    """Policy and value of an observation.

    The torso may run in bfloat16; all behind it, losses and optimizer stay in float32.
    """

    def __init__(
        self,
        obs_spec: ObservationSpec,
        action_spec: ActionSpec,
        config: NetworkConfig,
        precision: torch.dtype,
        normalize_values: bool = False,
        *,
        aux_head: bool = False,
        detach_values: bool = False,
        heads: Sequence[Head] = (),
    ) -> None:
        super().__init__()
        self.obs_spec = obs_spec
        self.action_spec = action_spec
        self.precision = precision
        self._make_torsos(obs_spec, config)
        value_torso = self.torso if self.value_torso is None else self.value_torso
        kind, size = config.recurrent, config.recurrent_size
        # None when nothing is remembered; a torso of the value's own remembers for itself.
        self.recurrent = make_recurrent(kind, self.torso.feature_size, size)
        self.value_recurrent = None
        if self.value_torso is not None:
            self.value_recurrent = make_recurrent(kind, value_torso.feature_size, size)
        self.policy = PolicyKind(action_spec, config)
        # Of numbers that are not whole, what their deviations are made from.
        self.log_std: nn.Parameter | None = None
        if action_spec.num_reals:
            self.log_std = nn.Parameter(self.policy.initial_parameter())
        policy_features = self.recurrent or self.torso
        value_features = self.value_recurrent or self.value_torso or policy_features
        self.policy_head = AlignedLinear(policy_features.feature_size, action_spec.num_outputs)
        self.value_head = AlignedLinear(value_features.feature_size, 1)
        initialize_head(self.policy_head, config.initialization, config.policy_gain)
        initialize_head(self.value_head, config.initialization, config.value_gain)
        self.value_scale = ValueScale() if normalize_values else None
        # Made last: the first weights of all else are those of a model without it.
        self.aux_value_head: AlignedLinear | None = None
        if aux_head:
            self.aux_value_head = AlignedLinear(self.torso.feature_size, 1)
            initialize_head(self.aux_value_head, config.initialization, config.value_gain)
        # Of what is learned beside policy and values, each with its side.
        self.heads = tuple(replace(h, side=h.side_in(self.value_torso is None)) for h in heads)
        self.auxiliary_heads = make_heads(self, self.heads, config.initialization)
        self._detaches_values = detach_values and self.value_torso is None

    def _make_torsos(self, obs_spec: ObservationSpec, config: NetworkConfig) -> None:
        """Make all layers before what remembers and before the heads."""
        name = torso_name(obs_spec, config)
        make_torso = lookup("network", NETWORKS, name)
        # None unless policy and value share the first layers, but not all.
        self.trunk: Mlp | None = None
        # None when policy and value share one torso.
        self.torso: Any
        self.value_torso: Any = None
        if config.num_shared_layers:
            self.trunk, self.torso, self.value_torso = make_parted_torsos(obs_spec, config, name)
        else:
            self.torso = make_torso(obs_spec, config)
            if not config.shared_torso:
                self.value_torso = make_torso(obs_spec, config.of_value())

    def in_returns(self, values: Tensor) -> Tensor:
        """Return the head's values [N] in the unit of returns: what they are used for."""
        return values if self.value_scale is None else self.value_scale(values)

    @property
    def memory_size(self) -> int:
        """S: numbers that are remembered of an episode; 0 = nothing."""
        layers = (self.recurrent, self.value_recurrent)
        return sum(layer.memory_size for layer in layers if layer is not None)

    def prepare(self, obs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Turn observations into what a torso takes.

        Images [N, H, W, C] uint8 become [N, C, H, W] in [0, 1]; as the pixels stay where they
        are, that is the channels-last layout. Vectors [N, F] stay. Rows of both become a tuple:
        the vectors, then the images.
        """
        if self.obs_spec.parts:
            return unpacked(self.obs_spec, obs, self.precision)
        if not self.obs_spec.is_image:
            return obs.to(self.precision)
        return obs.permute(0, 3, 1, 2).to(self.precision).mul_(1 / 255)

    def outputs(self, obs: Tensor, sequences: Sequences | None = None) -> tuple[Tensor, Tensor]:
        """Return the policy head's raw outputs and the values.

        Args:
            obs: [N, H, W, C] uint8, or [N, F] float32 (normalized if the run normalizes), or
                [N, bytes] uint8 of both.
            sequences: how they follow each other, for a model that remembers; None for others.

        Returns:
            [N, A] float32 for ``distribution``, and values [N] float32 (discounted return; in the
            unit of the head, see ``in_returns``).
        """
        if sequences is not None:
            return self.recall(obs, sequences)[:2]
        assert self.recurrent is None, "a model that remembers is told what follows what"
        if not torch.is_grad_enabled() and runs_directly(self, obs):
            direct = DirectPass(self, obs)
            return direct.outputs, direct.values
        features, value_features = self.features(obs)
        if self._detaches_values:
            value_features = value_features.detach()
        return self.policy_head(features), self.value_head(value_features)[:, 0]

    def recall(self, obs: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor, Tensor]:
        """Return what ``outputs`` does, and what is remembered after each sequence, [K, S]."""
        features, value_features, memory = self.remembered(*self.features(obs), sequences)
        return self.policy_head(features), self.value_head(value_features)[:, 0], memory

    def remembered(
        self, features: Tensor, value_features: Tensor, sequences: Sequences
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the heads take of what the torsos give, [N, F] float32 each, and [K, S]."""
        assert self.recurrent is not None, "this model remembers nothing"
        size = self.recurrent.memory_size
        own = Sequences(sequences.memory[:, :size], sequences.sizes)
        features, memory = self.recurrent(features, own)
        if self.value_recurrent is None:
            value_features = features
        else:
            own = Sequences(sequences.memory[:, size:], sequences.sizes)
            value_features, value_memory = self.value_recurrent(value_features, own)
            memory = torch.cat([memory, value_memory], 1)
        return features, value_features, memory

    def features(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the heads of policy and values take, [N, F] float32 each.

        Args:
            obs: as in ``outputs``.
        """
        low_precision = self.precision != torch.float32
        with torch.autocast(obs.device.type, self.precision, enabled=low_precision):
            inputs = self.prepare(obs)
            if self.trunk is not None:
                inputs = self.trunk(inputs)
            features = self.torso(inputs)
            value_features = features if self.value_torso is None else self.value_torso(inputs)
        return features.float(), value_features.float()

    def auxiliary(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what an auxiliary phase learns by; all gradients go through whole torsos.

        Args:
            obs: as in ``outputs``.

        Returns:
            the policy head's outputs [N, A] float32, the values [N] float32, and those of the
            auxiliary head [N] float32; None without such a head, where the values themselves
            train the policy's torso.
        """
        features, value_features = self.features(obs)
        aux_values = None
        if self.aux_value_head is not None:
            aux_values = self.aux_value_head(features)[:, 0]
        return self.policy_head(features), self.value_head(value_features)[:, 0], aux_values

    @torch.no_grad()
    def activations(self, obs: Tensor, sequences: Sequences | None = None) -> dict[str, Tensor]:
        """Return what each layer gives for observations, by name, without gradients.

        Args:
            obs: as in ``outputs``.
            sequences: likewise.

        Returns:
            [N, ...] float32 each, in the order of the layers. Those that policy and value share are
            "shared.1", "shared.2", ...; those of their own "policy.1" and "value.1", ...; what is
            remembered "shared.memory", or "policy.memory" and "value.memory". Last come "policy",
            the policy head's outputs [N, A], "value", those of the value head [N], and for each
            auxiliary head "auxiliary.NAME".
        """
        return activations_of(self, obs, sequences)

    def distribution(self, outputs: Tensor) -> Distribution:
        """Return the policy that the head's outputs [N, A] stand for."""
        return self.policy.distribution(outputs, self.log_std)

    def forward(
        self, obs: Tensor, sequences: Sequences | None = None
    ) -> tuple[Distribution, Tensor]:
        """Return the policy's distribution and the values [N]; arguments as in ``outputs``."""
        outputs, values = self.outputs(obs, sequences)
        return self.distribution(outputs), values
