"""A probe for curiosity: a corridor of rooms whose only reward lies at its end.

Each room but the last has doors, of which one leads on and all others back to the first room. Who
tries at random gets through all of them once in 14 million times.

Axes: B environments on this rank; H, W, C image; F features.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from ppo_mpi.envs.base import Discrete, ObservationSpec, StepResult, VecEnvs
from ppo_mpi.errors import CheckpointError

DOORS = (2, 0, 1, 1, 2, 0, 0, 2, 1, 0, 2, 2, 1, 0, 1)
"""The right one of each room but the last."""
NUM_DOORS = 3
NUM_ROOMS = len(DOORS) + 1
MAX_STEPS = 30
"""Steps after which an episode is truncated: twice the shortest way."""
ROOMS_IN_A_ROW = 4
ROOM_PIXELS = 2
FRAME_SIZE = 64
SPECS = {
    "corridor": ObservationSpec((NUM_ROOMS,), "float32"),
    "corridor-image": ObservationSpec(
        (ROOMS_IN_A_ROW * ROOM_PIXELS, ROOMS_IN_A_ROW * ROOM_PIXELS, 3), "uint8"
    ),
}
"""Task -> what it shows: the room one-hot, or a plan of the rooms with that one lit."""


class CorridorEnvs(VecEnvs):
    """Corridors side by side. Nothing in them is random, so they need no seeds."""

    def __init__(self, task: str, indices: Sequence[int], max_steps: int = MAX_STEPS) -> None:
        self.indices = tuple(indices)
        self.obs_spec, self.action_spec = SPECS[task], Discrete(NUM_DOORS)
        self._task, self._max_steps = task, max_steps
        self._rooms = np.zeros(len(self.indices), np.int64)
        self._steps = np.zeros(len(self.indices), np.int64)

    def reset(self) -> np.ndarray:
        """Begin a fresh episode in every slot; return the observations [B, ...]."""
        self._rooms[:] = 0
        self._steps[:] = 0
        return self.observe()

    def step(self, actions: np.ndarray) -> StepResult:
        """Go through a door in every slot; ``actions`` is [B] int64."""
        is_right = np.array(DOORS)[self._rooms] == actions
        self._rooms = np.where(is_right, self._rooms + 1, 0)
        self._steps += 1
        terminated = self._rooms == NUM_ROOMS - 1
        truncated = (self._steps >= self._max_steps) & ~terminated
        seen = self.observe()
        final_obs, last_obs = (
            {slot: seen[slot] for slot in np.flatnonzero(ended).tolist()}
            for ended in (truncated, terminated)
        )
        over = terminated | truncated
        self._rooms[over] = 0
        self._steps[over] = 0
        return StepResult(
            self.observe(), terminated.astype(np.float32), terminated, truncated, final_obs,
            self.levels, last_obs=last_obs,
        )  # fmt: skip

    def observe(self) -> np.ndarray:
        """Return the current observations [B, ...]."""
        vectors = np.eye(NUM_ROOMS, dtype=np.float32)[self._rooms]
        if not self.obs_spec.is_image:
            return vectors
        plans = vectors.reshape(-1, ROOMS_IN_A_ROW, ROOMS_IN_A_ROW, 1).astype(np.uint8) * 255
        return np.broadcast_to(
            plans.repeat(ROOM_PIXELS, axis=1).repeat(ROOM_PIXELS, axis=2),
            (len(plans), *self.obs_spec.shape),
        ).copy()

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        """Change nothing: all episodes begin alike."""

    @property
    def levels(self) -> np.ndarray:
        """[B] int64, -1: the suite has no levels."""
        return np.full(len(self.indices), -1, np.int64)

    def get_states(self) -> list[bytes | None]:
        """Return each slot's state as JSON."""
        pairs = zip(self._rooms.tolist(), self._steps.tolist(), strict=True)
        return [
            json.dumps({"probe": self._task, "room": room, "steps": steps}).encode("ascii")
            for room, steps in pairs
        ]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        """Raise CheckpointError unless ``set_states`` would take these; change nothing."""
        self._all_parsed(states)

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        """Put back what ``get_states`` gave; a slot whose state is None begins a fresh episode.

        Raises:
            CheckpointError: a state is damaged, or belongs to another environment.
        """
        for slot, (room, steps) in enumerate(self._all_parsed(states)):
            self._rooms[slot], self._steps[slot] = room, steps
        return [slot for slot, state in enumerate(states) if state is None]

    def _all_parsed(self, states: Sequence[bytes | None]) -> list[tuple[int, int]]:
        if len(states) != len(self.indices):
            raise CheckpointError(
                f"{len(states)} saved environments do not fit {len(self.indices)} slots"
            )
        return [
            (0, 0) if state is None else self._parsed(state, index)
            for state, index in zip(states, self.indices, strict=True)
        ]

    def _parsed(self, state: bytes, index: int) -> tuple[int, int]:
        whose = f"the saved state of environment {index}"
        try:
            saved = json.loads(state)
            name, room, steps = saved["probe"], int(saved["room"]), int(saved["steps"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{whose} is damaged: {type(error).__name__} {error}") from error
        if name != self._task:
            raise CheckpointError(f"{whose} is one of probe:{name}, not of probe:{self._task}")
        if not (0 <= room < NUM_ROOMS - 1 and 0 <= steps < self._max_steps):
            raise CheckpointError(f"{whose} is damaged: room {room} after {steps} steps")
        return room, steps

    def render(self) -> list[np.ndarray]:
        """Return one frame [64, 64, 3] uint8 per slot: the plan of the rooms."""
        size = FRAME_SIZE // ROOMS_IN_A_ROW
        plans = np.eye(NUM_ROOMS, dtype=np.uint8)[self._rooms] * 255
        frames = plans.reshape(-1, ROOMS_IN_A_ROW, ROOMS_IN_A_ROW, 1).repeat(3, axis=3)
        return list(frames.repeat(size, axis=1).repeat(size, axis=2))

    def close(self) -> None:
        """Hold nothing, free nothing."""
