"""Outputs and gradients of perceptrons on processors, by hand instead of by autograd.

The time of small networks is that of Python and of autograd's many steps; what they compute takes
a third of it. Numpy's hyperbolic tangent is part of the gain: torch has Intel's, which takes ten
times as long on processors of others.

Axes: N samples; K inputs and A outputs of a layer; F features of an observation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from ppo_mpi.networks.linear import AlignedLinear, padded
from ppo_mpi.networks.mlp import Mlp

if TYPE_CHECKING:
    from ppo_mpi.networks.actor_critic import ActorCritic


def runs_directly(model: ActorCritic, obs: Tensor) -> bool:
    """Return whether ``DirectPass`` can take the place of calling the model.

    Not if its torso is more than a perceptron, and not where hooks want to see what goes through
    a module, as estimates of curvature do.
    """
    if obs.device.type != "cpu" or obs.dtype != torch.float32 or model.precision != torch.float32:
        return False
    linears: list[nn.Module] = [model.policy_head, model.value_head]
    others: list[nn.Module] = [model]
    for torso in (model.torso, model.value_torso):
        if torso is None:
            continue
        if type(torso) is not Mlp:  # a subclass may do something else
            return False
        layers = [*torso.layers]
        if any(type(layer) is not torso.activation for layer in layers[1::2]):
            return False
        linears += layers[::2]
        others += [torso, torso.layers, *layers[1::2]]
    if any(type(layer) is not AlignedLinear for layer in linears):
        return False
    return not (_has_any_global_hook() or any(map(_has_hooks, linears + others)))


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


class DirectPass:
    """One forward pass of a model, with what its gradients need."""

    @torch.no_grad()
    def __init__(self, model: ActorCritic, obs: Tensor) -> None:
        """Compute outputs and values; autograd sees nothing of it.

        Args:
            model: one that ``runs_directly``.
            obs: [N, F] float32.
        """
        self._model = model
        x = obs.flatten(1)
        x = padded(x, x.shape[1])
        self._policy = self._value = _Layers(model.torso, x)
        if model.value_torso is not None:
            self._value = _Layers(model.value_torso, x)
        self.outputs = _linear(self._policy.features, model.policy_head)
        """[N, A] float32, the policy head's."""
        self.values = _linear(self._value.features, model.value_head)[:, 0]
        """[N] float32."""

    @torch.no_grad()
    def gradients(self, of_outputs: Tensor, of_values: Tensor) -> list[Tensor]:
        """Return the gradients of a sum over samples by all weights and biases.

        Args:
            of_outputs: [N, A] float32, its gradient by the outputs.
            of_values: [N] float32, its gradient by the values.

        Returns:
            in the order of the model's parameters: torso, value torso, policy head, value head.
        """
        policy_head, value_head = self._model.policy_head, self._model.value_head
        of_values = of_values[:, None]
        back = of_outputs.mm(_weight(policy_head))
        value_back = of_values.mm(_weight(value_head))
        if self._value is self._policy:
            torsos = self._policy.gradients(back.add_(value_back))
        else:
            torsos = self._policy.gradients(back) + self._value.gradients(value_back)
        return [
            *torsos,
            *_gradients(policy_head, self._policy.features, of_outputs),
            *_gradients(value_head, self._value.features, of_values),
        ]


class _Layers:
    """What went through one torso."""

    def __init__(self, torso: Mlp, x: Tensor) -> None:
        self._linears, self._is_tanh = torso.linears, torso.activation is nn.Tanh
        self._activations = [x]
        """What each layer takes, padded, and what the last one gives."""
        for layer in self._linears:
            x = _linear(x, layer)
            if self._is_tanh:
                numbers = x.numpy()
                np.tanh(numbers, out=numbers)
            else:
                x.relu_()
            x = padded(x, layer.out_features)
            self._activations.append(x)
        self.features = x

    def gradients(self, back: Tensor) -> list[Tensor]:
        """Return those of the weights and biases, in order; ``back`` is that of the features."""
        found: list[Tensor] = []
        for i in reversed(range(len(self._linears))):
            layer, x, y = self._linears[i], self._activations[i], self._activations[i + 1]
            if self._is_tanh:  # its derivative is 1 - y^2
                back = torch.ops.aten.tanh_backward(back, y)
            else:  # 1 where y > 0
                back = torch.ops.aten.threshold_backward(back, y, 0)
            back = back[:, : layer.out_features]
            found = [*_gradients(layer, x, back), *found]
            if i:
                back = back.mm(_weight(layer))
        return found


def _weight(layer: nn.Linear) -> Tensor:
    return padded(layer.weight, layer.in_features)


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return [N, A] for [N, K], padded."""
    return torch.addmm(layer.bias, x, _weight(layer).t())


def _gradients(layer: nn.Linear, x: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients by weight and bias from the input [N, K], padded, and the output's."""
    # This way round it takes a fifth of the time where inputs are few.
    of_weight = x.t().mm(back).t()
    return of_weight[:, : layer.in_features], back.sum(0)
