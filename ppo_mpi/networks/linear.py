"""The linear layer of all networks.

Axes: N samples; K inputs; A outputs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 4
"""Inputs are padded to a multiple of this many numbers, so that rows begin at multiples of 16
bytes in memory."""


class AlignedLinear(nn.Linear):
    """A linear layer that gives a sample the same bits at any place in its batch.

    Matrix products with few outputs were seen (MKL, x86-64) to sum a row in an order that depends
    on where the row begins in memory. Zeros at its end keep all rows aligned alike.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, K] to [N, A]."""
        missing = -self.in_features % MULTIPLE
        if not missing:
            return super().forward(x)
        return F.linear(F.pad(x, (0, missing)), F.pad(self.weight, (0, missing)), self.bias)
