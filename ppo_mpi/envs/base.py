"""The contract that every environment suite keeps; the spaces it speaks of are in spaces.py.

Axes: B environments on this rank; H, W, C image; F features; A action size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppo_mpi.envs.spaces import (
    ActionSpec,
    Box,
    Composite,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    ObservationSpec,
)
from ppo_mpi.envs.truths import Told
from ppo_mpi.errors import ConfigError

__all__ = [
    "ActionSpec",
    "Box",
    "Composite",
    "Discrete",
    "MultiBinary",
    "MultiDiscrete",
    "ObservationSpec",
    "StepResult",
    "VecEnvs",
]


@dataclass(frozen=True)
class StepResult:
    """What one step of B environments brought.

    ``obs`` belongs to the state the environments are in now: where an episode ended it is the
    first observation of the next one. Everything else belongs to the step just taken.
    """

    obs: np.ndarray
    """[B, ...] the observation to act on next."""
    rewards: np.ndarray
    """[B] float32, as the environment gave them."""
    terminated: np.ndarray
    """[B] bool, the episode ended for good."""
    truncated: np.ndarray
    """[B] bool, the episode was cut short; never true together with ``terminated``."""
    final_obs: Mapping[int, np.ndarray]
    """slot -> the true last observation of a truncated episode (bootstrap from it)."""
    levels: np.ndarray
    """[B] int64, the level in which the step was taken; -1 where the suite has no levels."""
    dropped: frozenset[int] = frozenset()
    """Slots whose environment raised and was made anew. Such a step is a truncation with reward 0
    whose final observation is the last one seen; its episode is not reported."""
    last_obs: Mapping[int, np.ndarray] = field(default_factory=dict)
    """slot -> the true last observation of a terminated episode, in suites that know it; of a lost
    life where ``obs`` is not what followed. Nothing is bootstrapped from it; reward models look at
    it."""
    life_lost: np.ndarray | None = None
    """[B] bool, learning takes the step for an end (no bootstrap) though the episode may go on;
    None where the suite knows no lives. May be true together with ``truncated``."""

    episode_facts: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """slot -> what there is to tell of the episode that ended with this step, by name (whether its
    goal was reached, ...), in suites that know more than rewards; evaluations make columns of
    it."""

    bonus: np.ndarray | None = None
    """[B] float32, info["bonus_reward"] of the step; None where nobody asked for it."""

    @property
    def learned_terminated(self) -> np.ndarray:
        """[B] bool, what learning takes for an end: ``terminated``, or a lost life."""
        return self.terminated if self.life_lost is None else self.terminated | self.life_lost

    @property
    def learned_truncated(self) -> np.ndarray:
        """[B] bool, what learning takes for a cut; never true with ``learned_terminated``."""
        return self.truncated if self.life_lost is None else self.truncated & ~self.life_lost


class VecEnvs(ABC):
    """B environments of one rank, stepped together; finished ones begin anew by themselves.

    Every environment draws from streams of its own, keyed by the job's seed and its index in the
    whole job. How the environments are dealt to ranks changes nothing that they do.

    A *slot* is a position 0..B-1 here; an *index* is the environment's number in the whole job.
    """

    indices: tuple[int, ...]
    obs_spec: ObservationSpec
    action_spec: ActionSpec
    gym_spaces: tuple[Any, Any] | None = None
    """Gymnasium's own spaces of observations and actions, in suites that have them."""
    restarts: int = 0
    """How many environments have raised and were made anew so far."""

    @abstractmethod
    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""

    @abstractmethod
    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot.

        Args:
            actions: [B, *action_shape] of the dtype that the spec says: [B] int64 for
                ``Discrete``; [B, A] float32 for ``Box``, where each number is clipped to the
                bounds by the suite (the policy's sample itself is not changed).
        """

    @abstractmethod
    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...], for example after ``set_states``."""

    @abstractmethod
    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Say how the slot's next episode begins: when the present one ends, or at ``reset``.

        Args:
            slot: 0..B-1.
            seed: everything random in that episode is drawn from it.
            level: the level, where the suite has levels; None draws one from ``seed``.
        """

    @property
    @abstractmethod
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now; -1 where the suite has no levels."""

    def tell(self, told: Told) -> None:
        """Let the environments tell more than they do, from their next reset on.

        Raises:
            ConfigError: they know nothing of the kind.
        """
        raise ConfigError(
            "auxiliary_heads and bonus_rewards need environments whose reset() and step() return "
            "an info: your own, those of Gymnasium's registry that are not stepped as arrays, or "
            "probe:beacon; leave them out here"
        )

    @property
    def truths(self) -> np.ndarray:
        """[B, W] float32, what is true of the present observations, as ``tell`` asked for it.

        NaN where it is not known.
        """
        return np.zeros((len(self.indices), 0), np.float32)

    @abstractmethod
    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, including its random streams; None if unsavable."""

    @abstractmethod
    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Refuse what ``set_states`` would not take, and change nothing.

        Where environments are in several parts, all of them are asked before one is changed.

        Raises:
            CheckpointError: as ``set_states`` does.
        """

    @abstractmethod
    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave (one entry a slot).

        Args:
            states: None where there is nothing to put back.
            iteration: of the run; may be part of the seeds of fresh episodes, so that a run that
                is often interrupted does not play the same ones each time.

        Returns:
            the slots that could not be restored and began a fresh episode instead.

        Raises:
            CheckpointError: a state belongs to another environment or is damaged; checked
                before anything is changed.
        """

    @abstractmethod
    def render(self) -> list[np.ndarray]:
        """Return one frame [H, W, 3] uint8 per slot, in the suite's human view.

        Needs environments that were made with ``render=True``.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what the environments hold."""
