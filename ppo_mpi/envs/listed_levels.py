"""Environments whose episodes are played on the levels of a list.

Procgen's engine knows ranges of levels only. Here each environment is told its next level while
the present one is played: number k of its episodes is on a level that is drawn from the list by
the environment's whole-job index and k. Axes: B environments on this rank.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.parts import check_number
from ppo_mpi.errors import CheckpointError
from ppo_mpi.seeding import generator

_COUNTERS = struct.Struct("<2Q")
"""In front of the environment's own state: the iteration in which its present stream of levels
began, and how many it has drawn since."""
_LARGEST = 2**62


class ListedLevels(VecEnvs):
    """Other environments, each with a stream of levels from one list.

    Every episode but those that ``assign`` was called for is on a level of the list.
    """

    def __init__(self, envs: VecEnvs, levels: Sequence[int], seed: int, stream: str) -> None:
        """Take over the environments, in which no episode has begun.

        Args:
            envs: they have levels, and take any.
            levels: of the list; one that stands there twice is drawn twice as often.
            seed: the job's.
            stream: what the environments are for; each purpose has draws of its own.

        Raises:
            ConfigError: there is no such level.
        """
        self._envs = envs
        self._listed = tuple(levels)
        self._seed, self._stream = seed, f"{stream}:listed levels"
        self.indices = envs.indices
        self.obs_spec, self.action_spec = envs.obs_spec, envs.action_spec
        self.gym_spaces = envs.gym_spaces
        self._counters = [(0, 0)] * len(self.indices)
        for slot in range(len(self.indices)):
            self._assign_next(slot)

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many environments have raised and were made anew so far."""
        return self._envs.restarts

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        obs = self._envs.reset()
        for slot in range(len(self.indices)):
            self._assign_next(slot)
        return obs

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` is [B]."""
        result = self._envs.step(actions)
        for slot in np.flatnonzero(result.terminated | result.truncated).tolist():
            self._assign_next(slot)
        return result

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        return self._envs.observe()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Say how the slot's next episode begins; without a level, one of the list is drawn."""
        if level is None:
            level = self._listed[generator(seed, "level").integers(len(self._listed))]
        self._envs.assign(slot, seed, level)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now."""
        return self._envs.levels

    @property
    def truths(self) -> np.ndarray:
        """[B, W] float32, what is true of the present observations."""
        return self._envs.truths

    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, that of its stream of levels in front."""
        return [
            None if state is None else _COUNTERS.pack(*counters) + state
            for counters, state in zip(self._counters, self._envs.get_states(), strict=True)
        ]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        check_number(states, len(self.indices))
        for slot, state in enumerate(states):
            if state is not None:
                self._counters_in(slot, state)
        self._envs.check_states(_own(states))

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; return the slots that began a fresh episode instead.

        Raises:
            CheckpointError: a state belongs to another environment or is damaged.
        """
        self.check_states(states)
        for slot, state in enumerate(states):
            if state is not None:
                self._counters[slot] = self._counters_in(slot, state)
                continue
            self._counters[slot] = (iteration, 0)
            self._assign_next(slot)
        fresh = self._envs.set_states(_own(states), iteration)
        for slot in fresh:
            self._assign_next(slot)
        return fresh

    def render(self) -> list[np.ndarray]:
        """Return one frame [H, W, 3] uint8 per slot, in the suite's human view."""
        return self._envs.render()

    def close(self) -> None:
        """Free what the environments hold."""
        self._envs.close()

    def _assign_next(self, slot: int) -> None:
        """Draw the level of the slot's next episode."""
        began, drawn = self._counters[slot]
        random = generator(self._seed, self._stream, self.indices[slot], began, drawn)
        level = self._listed[random.integers(len(self._listed))]
        self._envs.assign(slot, int(random.integers(2**31 - 1)), level)
        self._counters[slot] = (began, drawn + 1)

    def _counters_in(self, slot: int, state: bytes) -> tuple[int, int]:
        if len(state) >= _COUNTERS.size:
            began, drawn = _COUNTERS.unpack_from(state)
            if began < _LARGEST and drawn < _LARGEST:
                return began, drawn
        raise CheckpointError(
            f"the saved state of environment {self.indices[slot]} has no count of the levels "
            "that it drew from level_seeds; use a checkpoint that was written by ppo_mpi"
        )


def _own(states: Sequence[bytes | None]) -> list[bytes | None]:
    """Return the states without the counters in front."""
    return [None if state is None else state[_COUNTERS.size :] for state in states]
