"""RMSprop, in a few kernels for all parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import compress

import torch
from torch import Tensor, nn

STATE = ("square_avg",)
"""What is kept of each parameter, by torch's name."""


class RMSprop:
    """Running means of squared gradients, and the step that divides by their roots.

        mean   <- alpha * mean + (1 - alpha) * gradient^2
        weight <- weight - learning_rate * gradient / (sqrt(mean) + epsilon)

    Source:
        Tieleman and Hinton 2012, Coursera lecture 6.5; smoothing and epsilon, outside the root, as
        in torch's class, which ikostrikov/pytorch-a2c-ppo-acktr-gail uses. TensorFlow's, by which
        A2C was published first, has epsilon within the root and means that begin at 1.
    """

    def __init__(
        self,
        named: Sequence[tuple[str, nn.Parameter]],
        alpha: float,
        epsilon: float,
        apart: Collection[str] = (),
    ) -> None:
        """Begin with means of zero.

        Args:
            named: names and parameters; a parameter's ``.grad`` is there at every step.
            alpha: what a step leaves of a mean, in [0, 1).
            epsilon: is added to the root of the mean.
            apart: names of the parameters that may have a learning rate of their own.
        """
        self.names = [name for name, _ in named]
        self.alpha = alpha
        self.epsilon = epsilon
        self._parameters: list[Tensor] = [parameter for _, parameter in named]
        # They lie in memory as the parameter does.
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._is_apart = [name in apart for name in self.names]

    @torch.no_grad()
    def step(self, learning_rate: float, rate_apart: float | None = None) -> None:
        """Change the parameters by their gradients.

        Args:
            learning_rate: of all of them.
            rate_apart: of those that may have their own; None = ``learning_rate``.
        """
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        assert len(gradients) == len(self._parameters), "every parameter has its gradient"
        torch._foreach_mul_(self._means, self.alpha)
        torch._foreach_addcmul_(self._means, gradients, gradients, 1 - self.alpha)
        roots = torch._foreach_sqrt(self._means)
        torch._foreach_add_(roots, self.epsilon)
        if rate_apart is None:
            torch._foreach_addcdiv_(self._parameters, gradients, roots, -learning_rate)
            return
        for rate, is_apart in ((learning_rate, False), (rate_apart, True)):
            chosen = [own == is_apart for own in self._is_apart]
            columns = (self._parameters, gradients, roots)
            parameters, own_gradients, own_roots = (list(compress(c, chosen)) for c in columns)
            if parameters:
                torch._foreach_addcdiv_(parameters, own_gradients, own_roots, -rate)

    def tensors(self) -> dict[str, Tensor]:
        """Return "parameter/state" -> tensor, for a checkpoint; they change with every step."""
        return {
            f"{name}/{STATE[0]}": mean for name, mean in zip(self.names, self._means, strict=True)
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``tensors`` gave; nothing stands for the time before the first step."""
        own = self.tensors()
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
