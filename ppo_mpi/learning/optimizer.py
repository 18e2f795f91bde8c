"""What every optimizer can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class Optimizer(Protocol):
    """Changes parameters by their gradients, and keeps what it needs for the next step."""

    def step(self, learning_rate: float, rate_apart: float | None = None) -> None:
        """Change the parameters by their gradients.

        Args:
            learning_rate: of all of them.
            rate_apart: of those that may have their own; None = ``learning_rate``.
        """

    def tensors(self) -> dict[str, Tensor]:
        """Return "parameter/state" -> tensor, for a checkpoint."""

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``tensors`` gave; nothing stands for the time before the first step."""
