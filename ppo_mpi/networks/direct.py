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
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from ppo_mpi.networks.linear import AlignedLinear, padded
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.networks.split import Split

if TYPE_CHECKING:
    from ppo_mpi.networks.actor_critic import ActorCritic

SLOPE = 0.01
"""Of the leaky ReLU below 0, torch's."""


def runs_directly(model: ActorCritic, obs: Tensor) -> bool:
    """Return whether ``DirectPass`` can take the place of calling the model.

    Not if its torso is more than perceptrons, and not where hooks want to see what goes through
    a module, as estimates of curvature do.
    """
    if obs.device.type != "cpu" or obs.dtype != torch.float32 or model.precision != torch.float32:
        return False
    if model.recurrent is not None:
        return False
    linears: list[nn.Module] = [model.policy_head, model.value_head]
    others: list[nn.Module] = [model]
    for torso in (model.trunk, model.torso, model.value_torso):
        if torso is None:
            continue
        perceptrons = [torso]
        if type(torso) is Split:
            perceptrons = [torso.left, torso.right, torso.joint]
            others.append(torso)
        for perceptron in perceptrons:
            if type(perceptron) is not Mlp:  # a subclass may do something else
                return False
            layers = [*perceptron.layers]
            if not all(_is_known(layer, perceptron.activation) for layer in layers[1::2]):
                return False
            linears += layers[::2]
            others += [perceptron, perceptron.layers, *layers[1::2]]
    if any(type(layer) is not AlignedLinear for layer in linears):
        return False
    return not (_has_any_global_hook() or any(map(_has_hooks, linears + others)))


def _is_known(layer: nn.Module, activation: type[nn.Module]) -> bool:
    if activation is nn.LeakyReLU and getattr(layer, "negative_slope", SLOPE) != SLOPE:
        return False
    return type(layer) is activation


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
        self._shared = None if model.trunk is None else _Layers(model.trunk, x)
        if self._shared is not None:
            x = self._shared.features
        self._policy = self._value = _through(model.torso, x)
        if model.value_torso is not None:
            self._value = _through(model.value_torso, x)
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
            in the order of the model's parameters: trunk, torso, value torso, policy head, value
            head.
        """
        policy_head, value_head = self._model.policy_head, self._model.value_head
        of_values = of_values[:, None]
        back = of_outputs.mm(_weight(policy_head))
        value_back = of_values.mm(_weight(value_head))
        if self._shared is not None:
            torsos = self._parted(self._shared, back, value_back)
        elif self._value is self._policy:
            torsos = self._policy.gradients(back.add_(value_back))
        else:
            torsos = self._policy.gradients(back) + self._value.gradients(value_back)
        return [
            *torsos,
            *_gradients(policy_head, self._policy.features, of_outputs),
            *_gradients(value_head, self._value.features, of_values),
        ]

    def _parted(self, shared: _Layers, back: Tensor, value_back: Tensor) -> list[Tensor]:
        """Return the gradients of layers that policy and value share, and of their own."""
        assert isinstance(self._policy, _Layers), "only perceptrons part"
        assert isinstance(self._value, _Layers), "likewise"
        own, back = self._policy.all_gradients(back)
        value_own, value_back = self._value.all_gradients(value_back)
        return [*shared.gradients(back.add_(value_back)), *own, *value_own]


def _through(torso: nn.Module, x: Tensor) -> _Layers | _SplitLayers:
    return _SplitLayers(torso, x) if isinstance(torso, Split) else _Layers(torso, x)


class _Layers:
    """What went through one perceptron."""

    def __init__(self, torso: nn.Module, x: Tensor) -> None:
        assert isinstance(torso, Mlp), f"{type(torso).__name__} does not run directly"
        self._linears, self._activation = torso.linears, torso.activation
        self._num_activated = len(torso.layers) // 2
        self._activations = [x]
        """What each layer takes, padded, and what the last one gives."""
        for i, layer in enumerate(self._linears):
            x = _linear(x, layer)
            if i < self._num_activated:
                _activate(x, self._activation)
            x = padded(x, layer.out_features)
            self._activations.append(x)
        self.features = x

    def gradients(self, back: Tensor) -> list[Tensor]:
        """Return those of the weights and biases, in order; ``back`` is that of the features."""
        return self.all_gradients(back, is_first=True)[0]

    def all_gradients(self, back: Tensor, is_first: bool = False) -> tuple[list[Tensor], Tensor]:
        """Return the same, and the gradient by what went in, unless the perceptron is first."""
        found: list[Tensor] = []
        for i in reversed(range(len(self._linears))):
            layer, x, y = self._linears[i], self._activations[i], self._activations[i + 1]
            if i < self._num_activated:
                back = _before(back, y, self._activation)
            back = back[:, : layer.out_features]
            found = [*_gradients(layer, x, back), *found]
            if i or not is_first:
                back = back.mm(_weight(layer))
        return found, back


class _SplitLayers:
    """What went through two perceptrons side by side, and one behind both."""

    def __init__(self, torso: Split, x: Tensor) -> None:
        left, right = torso.parts(x[:, : torso.size])
        self._left = _Layers(torso.left, padded(left, left.shape[1]))
        self._right = _Layers(torso.right, padded(right, right.shape[1]))
        self._sizes = torso.left.feature_size, torso.right.feature_size
        parts = zip((self._left, self._right), self._sizes, strict=True)
        both = torch.cat([part.features[:, :size] for part, size in parts], 1)
        self._joint = _Layers(torso.joint, padded(both, both.shape[1]))
        self.features = self._joint.features

    def gradients(self, back: Tensor) -> list[Tensor]:
        """Return those of the weights and biases, in order; ``back`` is that of the features."""
        own, back = self._joint.all_gradients(back)
        left, right = self._sizes
        of_left = self._left.gradients(padded(back[:, :left], left))
        of_right = self._right.gradients(padded(back[:, left : left + right], right))
        return [*of_left, *of_right, *own]


def _activate(x: Tensor, activation: type[nn.Module]) -> None:
    """Change numbers in place."""
    if activation is nn.Tanh:
        numbers = x.numpy()
        np.tanh(numbers, out=numbers)
    elif activation is nn.LeakyReLU:
        F.leaky_relu_(x, SLOPE)
    else:
        x.relu_()


def _before(back: Tensor, y: Tensor, activation: type[nn.Module]) -> Tensor:
    """Return the gradient before an activation from that behind it and from what it gave, y."""
    if activation is nn.Tanh:  # its derivative is 1 - y^2
        return torch.ops.aten.tanh_backward(back, y)
    if activation is nn.LeakyReLU:  # 1 where y > 0, the slope elsewhere
        return torch.ops.aten.leaky_relu_backward(back, y, SLOPE, True)
    return torch.ops.aten.threshold_backward(back, y, 0)  # 1 where y > 0


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
