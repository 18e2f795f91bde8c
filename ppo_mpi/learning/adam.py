"""Adam, in one kernel for all parameters.

torch's own kernel, without what is around it: the class imports torch's compiler, which takes
0.7 s and 80 MB of every rank, and counts the steps of each parameter, which for small networks
takes longer than the kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import compress

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
STATE = ("exp_avg", "exp_avg_sq", "step")
"""What is kept of each parameter, by torch's names."""


class Adam:
    """Moments of named parameters, and the step that uses them.

    Source:
        Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
    """

    def __init__(
        self,
        named: Sequence[tuple[str, nn.Parameter]],
        epsilon: float,
        apart: Collection[str] = (),
    ) -> None:
        """Begin with moments of zero.

        Args:
            named: names and parameters; a parameter's ``.grad`` is there at every step.
            epsilon: is added to the root of the second moment.
            apart: names of the parameters that may have a learning rate of their own.
        """
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.epsilon = epsilon
        # Moments lie in memory as the parameter does; the count of steps is one for all.
        steps = torch.zeros((), device=self.parameters[0].device)
        self._state: dict[str, list[Tensor]] = {
            "exp_avg": [torch.zeros_like(p) for p in self.parameters],
            "exp_avg_sq": [torch.zeros_like(p) for p in self.parameters],
            "step": [steps] * len(self.parameters),
        }
        everywhere = [True] * len(self.names)
        is_apart = [name in apart for name in self.names]
        self._all = self._lists(everywhere)
        self._apart = self._lists(is_apart)
        self._others = self._lists([not own for own in is_apart])

    def _lists(self, which: Sequence[bool]) -> list[list[Tensor]]:
        """Return some of the parameters, and their state, as torch's kernel takes them."""
        columns = [list[Tensor](self.parameters), *(self._state[key] for key in STATE)]
        return [list(compress(column, which)) for column in columns]

    @torch.no_grad()
    def step(self, learning_rate: float, rate_apart: float | None = None) -> None:
        """Change the parameters by their gradients.

        Args:
            learning_rate: of all of them.
            rate_apart: of those that may have their own; None = ``learning_rate``.
        """
        self._state["step"][0].add_(1)
        if rate_apart is None:
            self._change(self._all, learning_rate)
            return
        self._change(self._others, learning_rate)
        self._change(self._apart, rate_apart)

    def _change(self, lists: list[list[Tensor]], learning_rate: float) -> None:
        parameters, averages, squares, steps = lists
        gradients = [p.grad for p in parameters if p.grad is not None]
        assert len(gradients) == len(parameters), "every parameter has its gradient"
        torch._fused_adam_(
            parameters,
            gradients,
            averages,
            squares,
            [],
            steps,
            lr=learning_rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return "parameter/state" -> tensor, for a checkpoint; they change with every step."""
        return {
            f"{name}/{key}": self._state[key][i]
            for i, name in enumerate(self.names)
            for key in STATE
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``tensors`` gave; nothing stands for the time before the first step."""
        own = self.tensors()
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
