"""Adam, in one kernel for all parameters.

torch's own kernel, without what is around it: the class imports torch's compiler, which takes
0.7 s and 80 MB of every rank, and counts the steps of each parameter, which for small networks
takes longer than the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], epsilon: float) -> None:
        """Begin with moments of zero.

        Args:
            named: names and parameters; a parameter's ``.grad`` is there at every step.
            epsilon: is added to the root of the second moment.
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

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Change the parameters by their gradients."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        assert len(gradients) == len(self.parameters), "every parameter has its gradient"
        self._state["step"][0].add_(1)
        torch._fused_adam_(
            list(self.parameters),
            gradients,
            self._state["exp_avg"],
            self._state["exp_avg_sq"],
            [],
            self._state["step"],
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
