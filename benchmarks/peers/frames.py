"""An engine of Atari's shapes that costs nothing: what is measured is all that is around it.

Frames of 84 x 84 with four in a stack, six actions, and episodes of 200 steps. The frames are
drawn once; an action chooses the next one.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

SHAPE = (84, 84, 4)
NUM_FRAMES = 64
EPISODE_STEPS = 200


class Frames(gymnasium.Env[np.ndarray, np.int64]):
    """One environment."""

    observation_space = gymnasium.spaces.Box(0, 255, SHAPE, np.uint8)
    action_space = gymnasium.spaces.Discrete(6)

    def __init__(self) -> None:
        self._frames = np.random.default_rng(0).integers(256, size=(NUM_FRAMES, *SHAPE))
        self._frames = self._frames.astype(np.uint8)
        self._now = self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin with a frame that the seed chooses."""
        super().reset(seed=seed)
        self._now, self._steps = int(self.np_random.integers(NUM_FRAMES)), 0
        return self._frames[self._now], {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Pay for one of the actions."""
        self._now = (7 * self._now + int(action) + 1) % NUM_FRAMES
        self._steps += 1
        reward = float(int(action) == self._now % 6)
        return self._frames[self._now], reward, self._steps == EPISODE_STEPS, False, {}


gymnasium.register("Frames-v0", entry_point=Frames)
