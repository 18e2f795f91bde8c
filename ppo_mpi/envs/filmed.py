"""Environments of which the first one is filmed while the policy learns in it.

Axes: B environments on this rank; H, W, C image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.parts import EnvParts
from ppo_mpi.errors import VideoError
from ppo_mpi.storage.film import Film

DRAWS_EVERY_STEP = ("procgen",)
"""Suites whose environments, once they can be drawn, draw every step, which takes longer than the
step: one that can be drawn takes the place of the filmed one for the episodes that are shown."""


class FilmedEnvs(EnvParts):
    """One environment that can be drawn, and others that need not be.

    The frame behind the last step of an episode is the first one of the next: environments begin
    anew by themselves.
    """

    def __init__(
        self, suite: str, make_first: Callable[..., VecEnvs], rest: VecEnvs | None
    ) -> None:
        """Take the environments.

        Args:
            suite: of the environments.
            make_first: makes a single one; ``render`` says whether it can be drawn.
            rest: those behind it; None if there are none.
        """
        self._make_first = make_first
        self._is_drawn = suite not in DRAWS_EVERY_STEP
        first = make_first(render=self._is_drawn)
        if not self._is_drawn and first.get_states() == [None]:
            # Without a state a stand-in would play other episodes than those that are learned from.
            first.close()
            self._is_drawn = True
            first = make_first(render=True)
        super().__init__([first, rest] if rest is not None else [first])
        self._stand_in: VecEnvs | None = None
        """One that can be drawn while ``first`` cannot, or the other way round."""
        self._goes_back = not self._is_drawn
        self.film: Film | None = None
        """None as long as nobody wants to see anything."""

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        obs = super().reset()
        if self.film is not None:
            self.film.begin(self._frame)
        return obs

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` is [B] or [B, A]."""
        result = super().step(actions)
        if self.film is not None:
            if result.terminated[0] or result.truncated[0]:
                self.film.end(self._frame, counts=0 not in result.dropped)
            else:
                self.film.frame(self._frame)
            if self._goes_back and self._is_drawn and not self.film.is_running:
                self._swap()
        return result

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; an episode that goes on is not filmed from there.

        Raises:
            CheckpointError: a state belongs to another environment or is damaged.
        """
        if self.film is not None:
            self.film.close()
        return super().set_states(states, iteration)

    def close(self) -> None:
        """Free what the environments hold; an unfinished video is dropped."""
        if self.film is not None:
            self.film.close()
        if self._stand_in is not None:
            self._stand_in.close()
        super().close()

    def _frame(self) -> np.ndarray:
        """Return the first environment's frame, [H, W, 3] uint8.

        Raises:
            VideoError: it cannot be drawn.
        """
        try:
            if not self._is_drawn:
                self._swap()
            return self.parts[0].render()[0]
        except Exception as error:  # foreign code: it may raise anything
            raise VideoError(
                f"environment {self.indices[0]} cannot be drawn: {error!r}; `python -m ppo_mpi "
                "doctor` says what is missing"
            ) from error

    def _swap(self) -> None:
        """Let the stand-in go on from the first environment's state in its place."""
        if self._stand_in is None:
            self._stand_in = self._make_first(render=not self._is_drawn)
        first, *rest = self.parts
        self._stand_in.set_states(first.get_states())
        self.parts, self._stand_in = (self._stand_in, *rest), first
        self._is_drawn = not self._is_drawn
