"""From what a value head gives to returns, and back: a running mean and deviation.

It is part of the model, so that whoever has the model has its values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ValueScale(nn.Module):
    """Mean and variance of the targets so far, in float64.

        returns = mean + deviation * head,  deviation = sqrt(variance + 1e-8)

    Source:
        normalize_values of "PPO And Friends". The head itself is not rescaled when the statistics
        move, as Pop-Art would (van Hasselt et al. 2016, arXiv:1602.07714).
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Names and first count are those of the other running statistics.
        for name, number in (("mean", 0.0), ("variance", 1.0), ("count", 1e-4)):
            self.register_buffer(name, torch.tensor(number, dtype=torch.float64))

    def forward(self, head: Tensor) -> Tensor:
        """Return values [N] in the unit of returns from those of the head, [N] float32."""
        return head * self._deviation() + self.mean.float()

    def normalized(self, returns: Tensor) -> Tensor:
        """Return values or targets [N] float32 in the unit of the head."""
        return (returns - self.mean.float()) / self._deviation()

    def _deviation(self) -> Tensor:
        return (self.variance + 1e-8).sqrt().float()
