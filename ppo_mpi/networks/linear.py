"""The linear layer of all networks.

Axes: N samples; K inputs; A outputs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 4
"""Inputs are padded to a multiple of this many numbers, so that rows begin at multiples of 16
bytes in memory."""


def padded(x: Tensor, size: int) -> Tensor:
    """Return [N, ``size``] with zeros at the end of each row, up to a multiple of ``MULTIPLE``."""
    missing = -size % MULTIPLE
    return F.pad(x, (0, missing)) if missing else x


class AlignedLinear(nn.Linear):
    """A linear layer that gives a sample the same bits at any place in its batch.

    Matrix products with few outputs were seen (MKL, x86-64) to sum a row in an order that depends
    on where the row begins in memory. Zeros at its end keep all rows aligned alike.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, K] to [N, A]."""
        size = self.in_features
        return F.linear(padded(x, size), padded(self.weight, size), self.bias)
