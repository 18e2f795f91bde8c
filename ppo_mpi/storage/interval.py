"""What was measured in the iterations since the last row of the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LAST = (
    "learning_rate", "value_learning_rate", "clip_range", "entropy_coef", "phase_rollouts",
    "augmentation", "slowest_rank", "memory_mebibytes", "largest_rank_mebibytes",
)  # fmt: skip
"""Metrics that say how things are: a row has them as they were in its last iteration."""
SUMMED = ("restarted_envs",)
"""Metrics that count what happened: a row has their sum. Of all others it has the mean."""
OF_ROWS = frozenset((
    "iteration", "timesteps", "wall_seconds", "timesteps_per_second", "mean_return",
    "median_return", "min_return", "max_return", "mean_length", "num_episodes", "test_mean_return",
    "test_mean_length", "test_num_episodes",
))  # fmt: skip
"""Columns that a row has by itself, which no metric may be called."""
LONGEST_NAME = 200
"""Letters of a metric's name."""


def is_metric(name: str) -> bool:
    """Return whether a metric may have that name, which becomes a column's."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and name not in OF_ROWS


class Interval:
    """Metrics of some iterations, made into those of one row."""

    def __init__(self) -> None:
        """Begin with no iteration."""
        self._values: dict[str, tuple[float, int]] = {}

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take one iteration in; a metric that is NaN was not measured in it."""
        for name, value in metrics.items():
            total, count = self._values.get(name, (0.0, 0))
            if math.isnan(value):
                self._values[name] = (total, count)
            elif name in LAST:
                self._values[name] = (float(value), 1)
            elif name in SUMMED:
                self._values[name] = (total + value, 1)
            else:
                self._values[name] = (total + value, count + 1)

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the row; NaN where none of its iterations has measured one."""
        return {
            name: total / count if count else math.nan
            for name, (total, count) in self._values.items()
        }

    def clear(self) -> None:
        """Begin the next row."""
        self._values = {}

    def state_dict(self) -> dict[str, list[float]]:
        """Return what a resumed run needs, for JSON."""
        return {name: [total, count] for name, (total, count) in self._values.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``."""
        self._values = {name: (float(total), int(n)) for name, (total, n) in state.items()}
