"""Keys and chests: a key is used up by each chest that is opened, and only chests are rewarded.

The agent is looked at only when it can have reached a key, or a chest that it can open.

Axes: B environments on this rank.
"""

from __future__ import annotations

import numpy as np

from ppo_mpi.envs.chest_levels import (
    CHEST_HALF,
    KEY_HALF,
    chest_places,
    gaps,
    key_places,
    make_level,
    with_things,
)
from ppo_mpi.envs.procgen_rules import Facts, Rules
from ppo_mpi.envs.procgen_scene import TIME, Scene

REWARD = 1.0
SPEED = 0.62
"""Cells; the agent moves less in a step."""
MOST_STEPS = 1000
"""Of an episode."""
PENALTY_OF_KEY, PENALTY_OF_STEP = 1 / 10, 1 / 1000
"""Units of ``key_penalty`` and ``step_penalty``."""


class ChestRules(Rules):
    """Keeps account of keys and chests, which the engine only takes away.

    Rewards and penalties of one step add up: where the published environments assign the reward of
    a chest, two chests of one step count twice here, and a key's penalty stays. What happens in
    the very step in which time runs out is not seen.
    """

    record_size = 5

    def __init__(
        self, name: str, many_keys: bool, is_memory: bool, key_penalty: int, step_penalty: int
    ) -> None:
        """Take what is changed.

        Args:
            name: of the variant.
            many_keys: whether keys are plenty, instead of chests.
            is_memory: whether levels are those of the memory mode.
            key_penalty: tenths of a reward that a key costs.
            step_penalty: thousandths of a reward that a step costs.
        """
        self.name = name
        self._many_keys, self._is_memory = many_keys, is_memory
        self._key_cost = key_penalty * PENALTY_OF_KEY
        self._step_cost = step_penalty * PENALTY_OF_STEP

    def _make_memory(self, num: int) -> None:
        self._needed = np.zeros(num, np.int64)
        """Chests that can be opened; then the level is complete."""
        self._held = np.zeros(num, np.int64)
        self._taken = np.zeros(num, np.int64)
        self._opened = np.zeros(num, np.int64)
        self._last_opened = np.zeros(num, np.int64)
        """The step, from 1, that opened the last one; 0 if none did."""
        self._steps = np.zeros(num, np.int64)
        self._wait = np.zeros(num, np.int64)
        """Steps to the next look."""
        self._keys_left = np.zeros(num, np.int64)
        self._chests: list[np.ndarray] = [np.zeros((0, 2), np.float32)] * num
        """Each slot's closed chests, [n, 2] their middles."""

    def begin(self, slot: int, state: bytes) -> bytes:
        """Return the state with keys, chests and agent in their places."""
        state, number = make_level(Scene(state), self._many_keys, self._is_memory)
        for counts in (self._held, self._taken, self._opened, self._last_opened, self._steps):
            counts[slot] = 0
        self._needed[slot] = number
        self._note(slot, Scene(state))
        return state

    def after_step(
        self, actions: np.ndarray, rewards: np.ndarray, ended: np.ndarray, facts: Facts
    ) -> None:
        """Count what was touched; end the levels that are complete."""
        self._steps += 1
        self._wait -= 1
        rewards -= np.float32(self._step_cost)
        for slot in np.flatnonzero((self._wait <= 0) & ~ended).tolist():
            if self._look(slot, rewards):
                ended[slot] = True
                facts[slot] = {"level_complete": 1.0, "timed_out": 0.0, "died": 0.0}
        for slot, told in facts.items():
            taken, needed = int(self._taken[slot]), int(self._needed[slot])
            told["keys_taken"] = float(taken)
            told["chests_opened"] = float(self._opened[slot])
            told["keys_after_useless"] = float(max(0, taken - needed))
            told["steps_to_last_chest"] = float(self._last_opened[slot])

    def restore(self, slot: int, state: bytes, record: tuple[int, ...]) -> None:
        """Take over where things are and what was counted."""
        counts = (self._needed, self._held, self._taken, self._opened, self._last_opened)
        for count, value in zip(counts, record, strict=True):
            count[slot] = value
        scene = Scene(state)
        self._steps[slot] = scene.step[TIME]
        self._note(slot, scene)

    def check(self, state: bytes, record: tuple[int, ...]) -> None:
        """Check a record that was saved beside a state.

        Raises:
            ValueError: it can be no record of this state.
        """
        needed, held, taken, opened, last = record
        cells = Scene(state).grid.size
        counts = 0 <= opened < needed <= cells and 0 <= held == taken - opened <= cells
        if not (counts and 0 <= last <= MOST_STEPS):
            raise ValueError(f"its level of {cells} cells has the record {record}")

    def record(self, slot: int) -> tuple[int, ...]:
        """Return what was counted."""
        counts = (self._needed, self._held, self._taken, self._opened, self._last_opened)
        return tuple(int(count[slot]) for count in counts)

    def _note(self, slot: int, scene: Scene) -> None:
        """Remember what is there, and when something of it can be touched."""
        keys, self._chests[slot] = key_places(scene), chest_places(scene)
        self._keys_left[slot] = len(keys)
        between = gaps(scene, keys, KEY_HALF)
        if self._held[slot]:
            between = np.append(between, gaps(scene, self._chests[slot], CHEST_HALF))
        nearest = between.min() if len(between) else 0.0
        # A box that is just reached is not touched yet.
        self._wait[slot] = max(0, int(nearest / SPEED)) + 1

    def _look(self, slot: int, rewards: np.ndarray) -> bool:
        """Count what was touched in the last step; return whether the level was completed."""
        state = self.slots.get(slot)
        scene = Scene(state)
        taken = int(self._keys_left[slot]) - len(key_places(scene))
        chests = self._chests[slot]
        closed = chest_places(scene)
        if not taken and len(closed) == len(chests):
            self._note(slot, scene)
            return False
        is_open = ~(chests[:, None] == closed[None]).all(2).any(1)
        if taken and not self._held[slot]:  # it could not open what it stands in
            is_open |= gaps(scene, chests, CHEST_HALF) < 0
        self._taken[slot] += taken
        self._held[slot] += taken
        # More than there are keys for stay closed.
        opened = np.flatnonzero(is_open)[: int(self._held[slot])]
        self._held[slot] -= len(opened)
        self._opened[slot] += len(opened)
        if len(opened):
            self._last_opened[slot] = self._steps[slot]
        rewards[slot] += REWARD * len(opened) - self._key_cost * taken
        if self._opened[slot] >= self._needed[slot]:
            self.slots.put(slot, self.slots.next_episode(state))
            return True
        state = with_things(scene, np.delete(chests, opened, 0), int(self._held[slot]))
        self.slots.put(slot, state)
        self._note(slot, Scene(state))
        return False
