"""What the schedules of the learning settings say in one iteration."""

from __future__ import annotations

from dataclasses import dataclass

from ppo_mpi.learning.schedules import value_at
from ppo_mpi.settings.learning import ONE_STEP, LearningConfig


@dataclass(frozen=True)
class Scheduled:
    """Numbers that stand still during one update."""

    learning_rate: float
    """The optimizer's."""
    clip_range: float
    """Of the probability ratio, and of the value change."""
    entropy_coef: float
    """Weight of the entropy bonus, per nat."""
    value_learning_rate: float | None = None
    """The same for what belongs to the values only; None = the others'."""
    bootstrap_factor: float = 1.0
    """By which both ends of the bootstrap clip are multiplied."""

    def metrics(self, learning: LearningConfig) -> dict[str, float]:
        """Return what is logged; what a run does not schedule is no column of its log."""
        found = {"learning_rate": self.learning_rate}
        if learning.algorithm not in ONE_STEP:
            found["clip_range"] = self.clip_range
        if learning.entropy_coef_schedule != "constant":
            found["entropy_coef"] = self.entropy_coef
        if self.value_learning_rate is not None:
            found["value_learning_rate"] = self.value_learning_rate
        return found


def scheduled(learning: LearningConfig, progress: float) -> Scheduled:
    """Return what the schedules say.

    Args:
        learning: the settings.
        progress: share of total_timesteps that is done, in [0, 1].
    """
    own_rate = None
    if learning.value_learning_rate is not None or learning.value_learning_rate_schedule:
        start = learning.value_learning_rate
        own_rate = value_at(
            learning.learning_rate if start is None else start,
            learning.value_learning_rate_schedule or learning.learning_rate_schedule,
            progress,
            learning.final_learning_rate,
        )
    return Scheduled(
        learning_rate=value_at(
            learning.learning_rate,
            learning.learning_rate_schedule,
            progress,
            learning.final_learning_rate,
        ),
        clip_range=value_at(learning.clip_range, learning.clip_range_schedule, progress),
        entropy_coef=value_at(learning.entropy_coef, learning.entropy_coef_schedule, progress),
        value_learning_rate=own_rate,
        bootstrap_factor=value_at(1.0, learning.bootstrap_clip_schedule, progress),
    )
