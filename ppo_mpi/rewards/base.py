"""The contract of reward models: transitions in, rewards and a loss out.

Axes: N samples; T steps; B environments on this rank; A action size; S metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.normalizers import RunningMoments
from ppo_mpi.settings.rewards import RewardsConfig


@dataclass(frozen=True)
class Transitions:
    """N steps whose next observation is known."""

    obs: Tensor
    """[N, ...] uint8 images, float32 vectors, or uint8 rows of both, as the policy sees them."""
    actions: Tensor
    """[N, ...] as the environments were given them, of the space's shape and dtype."""
    next_obs: Tensor
    """[N, ...] like ``obs``: what followed, before any reset."""

    def __len__(self) -> int:
        return len(self.obs)


class RewardModel(nn.Module, ABC):
    """Gives a reward for every transition, and learns from those of a rollout.

    A module, so that parameters and buffers are its state. A sample's reward and loss must not
    depend on which other samples come with it.
    """

    metrics: tuple[str, ...]
    """Names of what ``loss`` measures; the first is "loss"."""
    normalized: bool
    """Whether its rewards are usually divided by the running deviation of their return."""
    update_proportion: float = 1.0
    """Share of the samples from which it learns, drawn anew for every epoch."""
    imitates: bool = False
    """Whether it learns from an expert too, and is made with the settings of imitation."""

    @abstractmethod
    def rewards(self, transitions: Transitions) -> Tensor:
        """Return the transitions' rewards [N] float32."""

    @abstractmethod
    def loss(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """Return the loss [] and the metrics [S], each summed over the samples."""

    def observe(self, obs: Tensor, comm: Communicator) -> None:
        """Take a rollout's observations [T, B, ...] into running statistics, if it has some.

        Collective. Comes before the rollout's ``rewards``.
        """

    def is_normalized(self, config: RewardsConfig) -> bool:
        """Return whether its rewards are divided by the deviation of their return in this run."""
        asked = config.normalize_intrinsic_rewards
        return asked == "on" or (asked == "auto" and self.normalized)

    def moments(self) -> dict[str, RunningMoments]:
        """Return the running statistics by name, for a checkpoint."""
        return {}
