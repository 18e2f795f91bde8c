"""Environments whose pictures are corrupted before the agent sees them.

Axes: B environments on this rank; H, W, C image.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.corruptions import corrupted
from ppo_mpi.envs.parts import check_number
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.seeding import generator

_COUNTERS = struct.Struct("<5Q")
"""In front of the environment's own state: the fields of ``_Count``."""
_LARGEST = 2**62
PRESENT, LAST = 0, 1
"""Which picture of a step: the one to act on, or the true last one of the episode."""


class _Count(NamedTuple):
    """Which picture of which stream an environment shows."""

    began: int = 0
    """The iteration in which its present stream of corruptions began."""
    picture: int = 0
    """The number of its present picture in that stream."""
    seed: int = 0
    """One more than the seed that the present episode was assigned; 0 = none was."""
    shown: int = 0
    """The number of the present picture in its episode; only counted where there is a seed."""
    next_seed: int = 0
    """Of the next episode, as ``seed``."""

    def next_picture(self) -> _Count:
        """Return what it is one step on."""
        return self._replace(picture=self.picture + 1, shown=self.shown + bool(self.seed))

    def next_episode(self) -> _Count:
        """Return what it is where an episode begins with this picture."""
        return self._replace(seed=self.next_seed, shown=0, next_seed=0)


class CorruptedEnvs(VecEnvs):
    """Other environments, seen through a corruption.

    Picture number k of environment i is corrupted by draws keyed by i and k, wherever it lives. An
    episode that ``assign`` was called for is corrupted by draws keyed by its seed alone, so that it
    looks the same in every environment.
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
        self.gym_spaces = envs.gym_spaces
        self._counters = [_Count()] * len(self.indices)
        self._obs = np.zeros((len(self.indices), *envs.obs_spec.shape), np.uint8)

    @property
    def restarts(self) -> int:  # type: ignore[override]
        """How many environments have raised and were made anew so far."""
        return self._envs.restarts

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, H, W, C] uint8."""
        obs = self._envs.reset()
        self._count_on(range(len(self.indices)))
        return self._see(obs)

    def step(self, actions: np.ndarray) -> StepResult:
        """Take one step in every slot; ``actions`` as the environments take them."""
        result = self._envs.step(actions)
        self._count_on(())
        final_obs, last_obs = map(self._seen_last, (result.final_obs, result.last_obs))
        for slot in np.flatnonzero(result.terminated | result.truncated).tolist():
            self._counters[slot] = self._counters[slot].next_episode()
        return replace(result, obs=self._see(result.obs), final_obs=final_obs, last_obs=last_obs)

    def observe(self) -> np.ndarray:
        """Return the current observations [B, H, W, C] uint8."""
        return self._obs.copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Say how the slot's next episode begins, as ``VecEnvs.assign`` has it."""
        self._envs.assign(slot, seed, level)
        self._counters[slot] = self._counters[slot]._replace(next_seed=seed + 1)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, the level each slot is in now; -1 where the suite has no levels."""
        return self._envs.levels

    @property
    def truths(self) -> np.ndarray:
        """[B, W] float32, what is true of the present observations."""
        return self._envs.truths

    def get_states(self) -> list[bytes | None]:
        """Return each slot's whole state, the number of its picture in front."""
        return [
            None if state is None else _COUNTERS.pack(*counters) + state
            for counters, state in zip(self._counters, self._envs.get_states(), strict=True)
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
        assigned = [own.next_seed for own in self._counters]
        self._counters = [
            _Count() if state is None else self._counters_in(state) for state in states
        ]
        fresh = self._envs.set_states(_own(states), iteration)
        for slot in fresh:
            self._counters[slot] = _Count(began=iteration, seed=assigned[slot])
        self._see(self._envs.observe())
        return fresh

    def render(self) -> list[np.ndarray]:
        """Return one frame [H, W, 3] uint8 per slot, in the suite's human view, not corrupted."""
        return self._envs.render()

    def close(self) -> None:
        """Free what the environments hold."""
        self._envs.close()

    def _count_on(self, begun: Sequence[int]) -> None:
        """Count one picture further in every slot; in some an episode begins with it."""
        self._counters = [own.next_picture() for own in self._counters]
        for slot in begun:
            self._counters[slot] = self._counters[slot].next_episode()

    def _see(self, obs: np.ndarray) -> np.ndarray:
        for slot, picture in enumerate(obs):
            self._obs[slot] = self._corrupted(slot, picture, PRESENT)
        return self._obs.copy()

    def _seen_last(self, pictures: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        return {slot: self._corrupted(slot, own, LAST) for slot, own in pictures.items()}

    def _corrupted(self, slot: int, picture: np.ndarray, which: int) -> np.ndarray:
        own = self._counters[slot]
        if own.seed:
            random = generator(own.seed - 1, "corruption", own.shown, which)
        else:
            key = (self.indices[slot], own.began, own.picture, which)
            random = generator(self._seed, self._stream, *key)
        seen: np.ndarray = corrupted(picture, self._name, self._severity, random)
        return seen

    def _counters_in(self, state: bytes) -> _Count:
        if len(state) >= _COUNTERS.size:
            own = _Count(*_COUNTERS.unpack_from(state))
            if max(own) < _LARGEST:
                return own
        raise CheckpointError(
            "a saved environment has no count of its corrupted pictures; use a checkpoint that "
            "was written by ppo_mpi"
        )


def _own(states: Sequence[bytes | None]) -> list[bytes | None]:
    """Return the states without the counters in front."""
    return [None if state is None else state[_COUNTERS.size :] for state in states]
