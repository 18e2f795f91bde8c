"""One pass of a model while learning, of which each loss trains its own part.

Layers that policy and value share lie before those of their own. Of a loss that is not to reach
them, what is behind them goes through once more, from numbers that are constants to autograd.

Axes: N samples; A action size; F features.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ppo_mpi.networks.activations import mlp_layers
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.auxiliary_heads import answers
from ppo_mpi.networks.distributions import Distribution
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.networks.recurrent import Sequences


class RoutedPass:
    """What went through a model. To a loss it is the model itself, called with the same samples."""

    def __init__(
        self,
        model: ActorCritic,
        obs: Tensor,
        sequences: Sequences | None,
        reaching: Collection[str],
    ) -> None:
        """Go through the shared layers.

        Args:
            model: policy and value.
            obs: as in ``ActorCritic.outputs``.
            sequences: likewise.
            reaching: the losses whose gradients reach the shared layers, of policy, value, entropy
                and auxiliary.
        """
        self._model, self._sequences, self._reaching = model, sequences, reaching
        self._tails: dict[tuple[str, bool], list[Tensor]] = {}
        inputs = model.prepare(obs)
        self._shared: list[Tensor] = []
        self._inputs: Any = inputs
        """What goes into the layers of policy and value by themselves."""
        if model.value_torso is None:
            self._shared = self._through(model.torso, inputs, obs.device)
            if model.recurrent is not None:
                self._shared.append(self._remembered(model.recurrent, self._shared[-1], 0))
        elif model.trunk is not None:
            self._shared = self._through(model.trunk, inputs, obs.device)
        if self._shared:
            self._inputs = self._shared[-1]
        self._device = obs.device

    def __call__(
        self, obs: Tensor, sequences: Sequences | None = None
    ) -> tuple[Distribution, Tensor]:
        """Return the policy's distribution and the values [N]; the arguments are known already."""
        model = self._model
        outputs = model.policy_head(self._tail("policy", "policy" in self._reaching)[-1])
        policy = model.distribution(outputs)
        if ("entropy" in self._reaching) != ("policy" in self._reaching):
            own = model.policy_head(self._tail("policy", "entropy" in self._reaching)[-1])
            policy = EntropyApart(policy, model.distribution(own))
        values = model.value_head(self._tail("value", "value" in self._reaching)[-1])
        return policy, values[:, 0]

    def in_returns(self, values: Tensor) -> Tensor:
        """Return the head's values [N] in the unit of returns."""
        return self._model.in_returns(values)

    def answers(self) -> list[Tensor]:
        """Return what the auxiliary heads give, [N, size] float32 each."""
        reaches, heads = "auxiliary" in self._reaching, self._model.heads
        found: dict[str, list[Tensor]] = {}
        for side in {head.side for head in heads}:
            if side == "shared":
                found[side] = [x if reaches else x.detach() for x in self._shared]
            else:
                found[side] = self._tail(side, reaches)
        return answers(heads, self._model.auxiliary_heads, found)

    def _tail(self, side: str, reaches: bool) -> list[Tensor]:
        """Return what a side's own layers give, [N, F] each; what goes into its head is the last.

        Args:
            side: policy or value.
            reaches: whether gradients go on into the shared layers.
        """
        if (side, reaches) not in self._tails:
            model, inputs = self._model, self._inputs
            if self._shared and not reaches:
                inputs = inputs.detach()
            found: list[Tensor] = [inputs]
            if model.value_torso is not None:
                is_policy = side == "policy"
                torso = model.torso if is_policy else model.value_torso
                found = self._through(torso, inputs, self._device)
                recurrent = model.recurrent if is_policy else model.value_recurrent
                if recurrent is not None:
                    assert model.recurrent is not None, "both remember, or none"
                    begin = 0 if is_policy else model.recurrent.memory_size
                    found.append(self._remembered(recurrent, found[-1], begin))
            self._tails[side, reaches] = found
        return self._tails[side, reaches]

    def _through(self, torso: nn.Module, inputs: Any, device: torch.device) -> list[Tensor]:
        """Return what the layers of a perceptron give, or the features of another torso."""
        precision = self._model.precision
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            found = mlp_layers(torso, inputs) if type(torso) is Mlp else [torso(inputs)]
        return [x.float() for x in found] or [inputs]

    def _remembered(self, recurrent: Any, features: Tensor, begin: int) -> Tensor:
        sequences = self._sequences
        assert sequences is not None, "a model that remembers is told what follows what"
        memory = sequences.memory[:, begin : begin + recurrent.memory_size]
        remembered: Tensor = recurrent(features, Sequences(memory, sequences.sizes))[0]
        return remembered


class EntropyApart:
    """A policy whose entropy has gradients of its own, by an equal policy of another way here."""

    def __init__(self, policy: Distribution, other: Distribution) -> None:
        """Take the policy, and the one whose entropy it has."""
        self._policy, self._other = policy, other

    def sample(self, noise: Tensor) -> Tensor:
        """Return one action for each row of noise."""
        return self._policy.sample(noise)

    def mode(self) -> Tensor:
        """Return the most likely actions."""
        return self._policy.mode()

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return [N] float32, nats."""
        return self._policy.log_prob(actions)

    def entropy(self) -> Tensor:
        """Return [N] float32, nats."""
        return self._other.entropy()

    def gradients(
        self, actions: Tensor, of_log_prob: Tensor, of_entropy: float
    ) -> tuple[Tensor, ...]:
        """Give none: whoever knows the model's gradients by hand does not come here.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("gradients of two ways are found by autograd only")
