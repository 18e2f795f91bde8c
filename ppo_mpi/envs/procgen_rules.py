"""What a variant adds to a game of Procgen: the contract between it and the engine's environments.

Axes: B environments on this rank.
"""

from __future__ import annotations

import struct
import zlib
from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np

from ppo_mpi.envs.procgen_state import WORD

Facts = dict[int, dict[str, float]]
"""Slot -> what there is to tell of the episode that ended there."""


class Slots(Protocol):
    """The engine's environments one by one; every call costs about a tenth of a millisecond."""

    def get(self, slot: int) -> bytes:
        """Return a slot's state."""

    def put(self, slot: int, state: bytes) -> None:
        """Put a state into a slot and draw it; reward and end of the step stay what they were."""

    def next_episode(self, state: bytes) -> bytes:
        """Return the state in which the environment of a state begins its next episode."""


class Rules(ABC):
    """A variant's rules in the environments of one engine.

    Nothing is drawn from a stream: whatever is random in a level is drawn from its number.
    """

    name: str
    """Of the variant; part of every saved state."""
    record_size: int = 0
    """Numbers that a slot's record has."""
    sees_levels: bool = True
    """Whether ``begin`` is called, which costs two calls of the engine for every episode."""
    slots: Slots

    def attach(self, slots: Slots, num: int) -> None:
        """Take the environments whose rules these are.

        Args:
            slots: reach them.
            num: B.
        """
        self.slots = slots
        self._make_memory(num)

    @abstractmethod
    def _make_memory(self, num: int) -> None:
        """Make what is kept for each of B slots."""

    @abstractmethod
    def begin(self, slot: int, state: bytes) -> bytes:
        """Return the state in which a slot begins its episode, and take note of it.

        Args:
            slot: 0..B-1.
            state: as the game begins it.
        """

    @abstractmethod
    def after_step(
        self, actions: np.ndarray, rewards: np.ndarray, ended: np.ndarray, facts: Facts
    ) -> None:
        """Apply the rules to the step that was just taken; all arguments may be changed.

        Args:
            actions: [B] int64.
            rewards: [B] float32.
            ended: [B] bool; these slots hold the next episode's state, as the game begins it.
            facts: an entry for each slot that ended.
        """

    @abstractmethod
    def restore(self, slot: int, state: bytes, record: tuple[int, ...]) -> None:
        """Take note of a state that was saved in the midst of its episode.

        Args:
            slot: 0..B-1, which holds it.
            state: as ``slots.get`` gave it when it was saved.
            record: what ``record`` gave, ``record_size`` numbers.
        """

    @abstractmethod
    def check(self, state: bytes, record: tuple[int, ...]) -> None:
        """Check a record that was saved beside a state, which follows the layout.

        Raises:
            ValueError: it can be no record of this state.
        """

    def record(self, slot: int) -> tuple[int, ...]:
        """Return what there is to save beside the slot's state, ``record_size`` int32."""
        return ()

    def saved(self, slot: int, state: bytes) -> bytes:
        """Return the state with the slot's record behind it."""
        return state + struct.pack(self._format(), *self.record(slot), self._mark())

    def split(self, saved: bytes) -> tuple[bytes, tuple[int, ...]]:
        """Return the state and the record that ``saved`` was made of.

        Raises:
            ValueError: it belongs to another variant.
        """
        size = WORD * (self.record_size + 1)
        state, behind = saved[:-size], saved[-size:]
        if len(behind) != size:
            raise ValueError(f"it has {len(saved)} bytes")
        *record, mark = struct.unpack(self._format(), behind)
        if mark != self._mark():
            raise ValueError(f"it is not one of {self.name}")
        return state, tuple(record)

    def _format(self) -> str:
        return f"<{self.record_size}iI"

    def _mark(self) -> int:
        return zlib.crc32(self.name.encode())
