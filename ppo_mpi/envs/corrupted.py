"""Environments whose pictures are corrupted before the agent sees them.

Axes: B environments on this rank; H, W, C image.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.corruptions import corrupted
from ppo_mpi.envs.parts import check_number
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.seeding import generator

_COUNTERS = struct.Struct("<3Q")
"""In front of the environment's own state: the iteration in which its present stream of
corruptions began, or ``_LARGEST`` and the seed of the assigned episode with which it did; the
number of its present picture; and 1 + the seed of the assigned episode to come, 0 if none is."""
_LARGEST = 2**62
PRESENT, LAST = 0, 1
"""Which picture of a step: the one to act on, or the true last one of the episode."""


class CorruptedEnvs(VecEnvs):
    """Other environments, seen through a corruption.

    Picture number k of environment i is corrupted by draws keyed by i and k, wherever it lives.
    From an assigned episode on it is by that episode's seed and k instead, whatever i is.
    """

    def __init__(self, envs: VecEnvs, name: str, severity: int, seed: int, stream: str) -> None:
        """Take over the environments, in which no episode has begun.

        Args:
            envs: they show pictures.
            name: of the corruption.
            severity: 1 to 5.
            seed: the job's.
            stream: what the environments are for; each purpose has draws of its own.

        Raises:
            ConfigError: they show something else.
        """
        if not envs.obs_spec.is_image:
            envs.close()
            raise ConfigError(
                f"corruption={name}, but the observations are no pictures: {envs.obs_spec}; use "
                "corruption=none"
            )
        self._envs, self._name, self._severity = envs, name, severity
        self._seed, self._stream = seed, f"{stream}:corruption"
        self.indices = envs.indices
        self.obs_spec, self.action_spec = envs.obs_spec, envs.action_spec
        self._counters = [(0, 0)] * len(self.indices)
        self._assigned: dict[int, int] = {}
        """Slot -> seed of its next episode."""
        self._obs = np.zeros((len(self.indices), *envs.obs_spec.shape), np.uint8)

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many environments have raised and were made anew so far."""
        return self._envs.restarts

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, H, W, C] uint8."""
        obs = self._envs.reset()
        self._count()
        self._begin_assigned(range(len(self.indices)))
        return self._see(obs)

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` as the environments take them."""
        result = self._envs.step(actions)
        self._count()
        ends = [self._seen_last(own) for own in (result.final_obs, result.last_obs)]
        self._begin_assigned(np.flatnonzero(result.terminated | result.truncated).tolist())
        return replace(result, obs=self._see(result.obs), final_obs=ends[0], last_obs=ends[1])

    def observe(self) -> np.ndarray:
        """Return the current observations [B, H, W, C] uint8."""
        return self._obs.copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Say how the slot's next episode begins, as ``VecEnvs.assign`` has it."""
        self._envs.assign(slot, seed, level)
        self._assigned[slot] = int(seed)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now; -1 where the suite has no levels."""
        return self._envs.levels

    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, the number of its picture in front."""
        return [
            None
            if state is None
            else _COUNTERS.pack(*self._counters[slot], 1 + self._assigned.get(slot, -1)) + state
            for slot, state in enumerate(self._envs.get_states())
        ]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        check_number(states, len(self.indices))
        for state in states:
            if state is not None:
                self._counters_in(state)
        self._envs.check_states(_own(states))

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; return the slots that began a fresh episode instead.

        Raises:
            CheckpointError: a state belongs to another environment or is damaged.
        """
        self.check_states(states)
        self._counters = [(iteration, 0)] * len(states)
        self._assigned.clear()
        for slot, state in enumerate(states):
            if state is not None:
                began, count, assigned = self._counters_in(state)
                self._counters[slot] = (began, count)
                if assigned:
                    self._assigned[slot] = assigned - 1
        fresh = self._envs.set_states(_own(states), iteration)
        for slot in fresh:
            self._counters[slot] = (iteration, 0)
        self._see(self._envs.observe())
        return fresh

    def render(self) -> list[np.ndarray]:
        """Return one frame [H, W, 3] uint8 per slot, in the suite's human view, not corrupted."""
        return self._envs.render()

    def close(self) -> None:
        """Free what the environments hold."""
        self._envs.close()

    def _count(self) -> None:
        """Count one picture further in every slot."""
        self._counters = [(began, count + 1) for began, count in self._counters]

    def _begin_assigned(self, slots: Sequence[int]) -> None:
        """Begin the streams of episodes that were assigned, where some have just begun."""
        for slot in slots:
            if slot in self._assigned:
                self._counters[slot] = (_LARGEST + self._assigned.pop(slot), 0)

    def _see(self, obs: np.ndarray) -> np.ndarray:
        for slot, picture in enumerate(obs):
            self._obs[slot] = self._corrupted(slot, picture, PRESENT)
        return self._obs.copy()

    def _seen_last(self, pictures: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        return {slot: self._corrupted(slot, own, LAST) for slot, own in pictures.items()}

    def _corrupted(self, slot: int, picture: np.ndarray, which: int) -> np.ndarray:
        began, count = self._counters[slot]
        if began >= _LARGEST:  # wherever, and for whatever purpose it is played
            random = generator(began - _LARGEST, "episode:corruption", count, which)
        else:
            random = generator(self._seed, self._stream, self.indices[slot], began, count, which)
        seen: np.ndarray = corrupted(picture, self._name, self._severity, random)
        return seen

    def _counters_in(self, state: bytes) -> tuple[int, int, int]:
        if len(state) >= _COUNTERS.size:
            began, count, assigned = _COUNTERS.unpack_from(state)
            if began < 2 * _LARGEST and count < _LARGEST and assigned <= _LARGEST:
                return began, count, assigned
        raise CheckpointError(
            "a saved environment has no count of its corrupted pictures; use a checkpoint that "
            "was written by ppo_mpi"
        )


def _own(states: Sequence[bytes | None]) -> list[bytes | None]:
    """Return the states without the counters in front."""
    return [None if state is None else state[_COUNTERS.size :] for state in states]
