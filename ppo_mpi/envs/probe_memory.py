"""A probe for memory: what is to be answered at a corridor's end was shown at its beginning.

Who sees only the present answers by chance, once in three times; who remembers is always right.

Axes: B environments on this rank; H, W, C image; F features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_mpi.envs.base import Discrete, ObservationSpec, StepResult, VecEnvs
from ppo_mpi.envs.probe_tasks import COLORS
from ppo_mpi.errors import CheckpointError
from ppo_mpi.seeding import generator

NUM_CUES = 3
BY_CHANCE = 1 / NUM_CUES
"""Mean return of the best policy without memory; with memory it is 1."""
SHORTEST, LONGEST = 4, 8
"""Steps from the cue to the question: drawn for each episode, so that ends lie anywhere."""
QUESTION = NUM_CUES
"""The feature that is 1 where the answer counts; those before it are 1 where their cue is shown."""
FRAME_SIZE = 64
SPECS = {
    "memory": ObservationSpec((NUM_CUES + 1,), "float32"),
    "memory-image": ObservationSpec((8, 8, 3), "uint8"),
}
"""Task -> what it shows: the features, or an image in the cue's color, black, then white."""


@dataclass
class _Slot:
    """One environment."""

    generator: np.random.Generator
    cue: int = 0
    length: int = SHORTEST
    """Steps from the cue to the question."""
    steps: int = 0
    """Of the episode so far."""
    next_seed: int | None = None
    """Seed of the next episode, if one was assigned."""


class MemoryEnvs(VecEnvs):
    """Environments of this probe. All of them can be saved, as JSON."""

    def __init__(self, task: str, indices: Sequence[int], seed: int, stream: str) -> None:
        self.indices = tuple(indices)
        self.obs_spec, self.action_spec = SPECS[task], Discrete(NUM_CUES)
        self._task = task
        self._slots = [_Slot(generator(seed, f"{stream}:memory", i)) for i in self.indices]

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        for slot in self._slots:
            _begin(slot)
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Answer in every slot, though it counts at the question only; ``actions`` is [B] int64."""
        num = len(self._slots)
        rewards, terminated = np.zeros(num, np.float32), np.zeros(num, bool)
        last_obs = {}
        for position, slot in enumerate(self._slots):
            if slot.steps == slot.length:
                rewards[position] = float(actions[position] == slot.cue)
                terminated[position] = True
                last_obs[position] = self._shown(slot)  # nothing follows: it still stands there
                _begin(slot)
            else:
                slot.steps += 1
        return StepResult(
            self.observe(), rewards, terminated, np.zeros(num, bool), {}, self.levels,
            last_obs=last_obs,
        )  # fmt: skip

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        observations = np.zeros((len(self._slots), *self.obs_spec.shape), self.obs_spec.dtype)
        for position, slot in enumerate(self._slots):
            observations[position] = self._shown(slot)
        return observations

    def _shown(self, slot: _Slot) -> np.ndarray:
        if self.obs_spec.is_image:
            return np.full(self.obs_spec.shape, _color(slot), np.uint8)
        features = np.zeros(self.obs_spec.shape, np.float32)
        features[slot.cue] = slot.steps == 0
        features[QUESTION] = slot.steps == slot.length
        return features

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Draw the slot's next episode, and what follows it, from ``seed``; no levels here."""
        self._slots[slot].next_seed = int(seed)

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, -1: the suite has no levels."""
        return np.full(len(self._slots), -1, np.int64)

    def get_states(self) -> list[bytes | None]:
        """Return each slot's state as JSON."""
        return [
            json.dumps(
                vars(slot)
                | {"probe": self._task, "generator": _plain(slot.generator.bit_generator.state)}
            ).encode("ascii")
            for slot in self._slots
        ]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        self._all_parsed(states)

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; a slot whose state is None begins a fresh episode.

        Raises:
            CheckpointError: a state is damaged, or belongs to another environment.
        """
        fresh = []
        for position, slot in enumerate(self._all_parsed(states)):
            if slot is not None:
                self._slots[position] = slot
            else:
                _begin(self._slots[position])
                fresh.append(position)
        return fresh

    def _all_parsed(self, states: Sequence[bytes | None]) -> list[_Slot | None]:
        if len(states) != len(self.indices):
            raise CheckpointError(
                f"{len(states)} saved environments do not fit {len(self.indices)} slots"
            )
        return [
            None if state is None else self._parsed(state, index)
            for state, index in zip(states, self.indices, strict=True)
        ]

    def _parsed(self, state: bytes, index: int) -> _Slot:
        whose = f"the saved state of environment {index}"
        try:
            saved = json.loads(state)
            name = saved.pop("probe")
            bit_generator = np.random.Philox()
            bit_generator.state = saved.pop("generator")
            slot = _Slot(np.random.Generator(bit_generator), **saved)
            numbers = [int(slot.cue), int(slot.length), int(slot.steps)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{whose} is damaged: {type(error).__name__} {error}") from error
        if name != self._task:
            raise CheckpointError(f"{whose} is one of probe:{name}, not of probe:{self._task}")
        cue, length, steps = numbers
        if not (0 <= cue < NUM_CUES and SHORTEST <= length <= LONGEST and 0 <= steps <= length):
            raise CheckpointError(
                f"{whose} is damaged: cue {cue}, step {steps} of {length}; use an older checkpoint"
            )
        return slot

    def render(self) -> list[np.ndarray]:
        """Return one frame [64, 64, 3] uint8 per slot, in one color as the images."""
        shape = (FRAME_SIZE, FRAME_SIZE, 3)
        return [np.full(shape, _color(slot), np.uint8) for slot in self._slots]

    def close(self) -> None:
        """Hold nothing, free nothing."""


def _color(slot: _Slot) -> Sequence[int]:
    return COLORS[slot.cue] if not slot.steps else [255 * (slot.steps == slot.length)] * 3


def _begin(slot: _Slot) -> None:
    if slot.next_seed is not None:
        slot.generator = generator(slot.next_seed, "memory")
        slot.next_seed = None
    slot.steps = 0
    slot.cue = int(slot.generator.integers(NUM_CUES))
    slot.length = int(slot.generator.integers(SHORTEST, LONGEST + 1))


def _plain(state: Any) -> Any:
    """Return a bit generator's state with lists for arrays, which it takes as well."""
    if isinstance(state, Mapping):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state
