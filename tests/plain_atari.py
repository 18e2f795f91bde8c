"""Atari's preprocessing once more, slow and plain, on Gymnasium's raw environments.

Written from the papers' descriptions, with lists instead of buffers and matrices instead of
OpenCV; only the order of random draws is that of the project.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ale_py
import gymnasium
import numpy as np

from ppo_mpi.envs.atari_options import AtariOptions
from ppo_mpi.seeding import generator
from ppo_mpi.settings.atari_names import title

gymnasium.register_envs(ale_py)


@dataclass
class Step:
    """What one step brought."""

    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    life_lost: bool = False


def area_matrix(small: int, large: int) -> np.ndarray:
    """Return [small, large]: how much each of ``large`` pixels adds to each of ``small`` ones."""
    edges = np.arange(small + 1) * large / small
    pixels = np.arange(large)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(overlap, 0, None) * small / large


@dataclass
class PlainGame:
    """One environment."""

    options: AtariOptions
    seed: int
    stack: list[np.ndarray] = field(default_factory=list)
    env: Any = None

    def __post_init__(self) -> None:
        config = self.options.config
        kind = "ram" if self.options.shows_ram else "grayscale" if config.grayscale else "rgb"
        self.env = gymnasium.make(
            f"ALE/{title(self.options.rom)}-v5", frameskip=1, repeat_action_probability=0.0,
            full_action_space=config.full_action_space, obs_type=kind,
            max_num_frames_per_episode=config.max_episode_frames or None,
        ).unwrapped  # fmt: skip
        self.random = generator(self.seed, "atari")
        meanings = self.env.get_action_meanings()
        self.starts = [1, 2] if config.fire_on_reset and meanings[1:2] == ["FIRE"] else []
        self.starts = self.starts if len(meanings) >= 3 else []

    def frame(self, action: int) -> float:
        """Let one frame pass; the result is in ``screens``, ``terminated``, ``truncated``."""
        sticky = self.options.sticky_actions
        if not (sticky and self.random.random() < sticky):
            self.held = action
        obs, reward, self.terminated, self.truncated, info = self.env.step(self.held)
        self.lives_now = info["lives"]
        self.screens.append(obs)
        return float(reward)

    def smaller(self, screen: np.ndarray) -> np.ndarray:
        """Return a screen as it is shown, float64, not yet rounded."""
        if self.options.shows_ram:
            return screen / 255
        size = self.options.config.screen_size
        rows, columns = (area_matrix(size, large) for large in screen.shape[:2])
        channels = screen.astype(float).reshape(*screen.shape[:2], -1).transpose(2, 0, 1)
        small = (rows @ channels @ columns.T).transpose(1, 2, 0)
        return small[..., 0] if screen.ndim == 2 else small

    def push(self, screen: np.ndarray) -> None:
        self.stack = [*self.stack[1:], self.smaller(screen)]

    def brighter(self) -> np.ndarray:
        if self.options.shows_ram or not self.options.config.max_over_frames:
            return self.screens[-1]
        return np.maximum(self.screens[-2], self.screens[-1])

    def advance(self, action: int) -> float:
        """Let a step's frames pass."""
        low, high = self.options.frame_skip
        skip = low if low == high else int(self.random.integers(low, high + 1))
        every, reward, passed = self.options.config.stack_skipped_frames, 0.0, 0
        for _ in range(skip):
            reward += self.frame(action)
            passed += 1
            if every:
                self.push(self.brighter())
            if self.terminated or self.truncated:
                break
        if not every:
            self.push(self.brighter() if passed == skip > 1 else self.screens[-1])
        return reward

    def reset(self, first: bool) -> None:
        """Begin an episode; everything from the seed if it is the first."""
        if first:
            obs, info = self.env.reset(seed=0)
        else:
            obs, info = self.env.reset()
        self.screens, self.lives_now = [obs], info["lives"]
        self.terminated = self.truncated = False
        self.stack = [self.smaller(obs)] * self.options.config.frame_stack
        self.held = 0
        most = self.options.config.noop_max
        for _ in range(int(self.random.integers(1, most + 1)) if most else 0):
            self.frame(0)
        for action in self.starts:
            self.advance(action)
        assert not self.terminated, "no game of the tests ends at its beginning"
        self.lives = self.lives_now
        self.stack = [self.smaller(self.screens[-1])] * self.options.config.frame_stack

    def step(self, action: int) -> Step:
        """Take one step; the next episode is begun by ``reset``."""
        reward = self.advance(action)
        lost = self.options.config.life_loss_ends and 0 < self.lives_now < self.lives
        lost = lost and not self.terminated
        self.lives = self.lives_now
        if lost and not self.truncated:
            for start in [0, *self.starts]:
                if not (self.terminated or self.truncated):
                    reward += self.advance(start)
            self.lives = self.lives_now
            self.stack = [self.smaller(self.screens[-1])] * self.options.config.frame_stack
        cut = self.truncated and not self.terminated
        return Step(reward, self.terminated, cut, lost and not self.terminated)

    def obs(self) -> np.ndarray:
        """Return what is shown, not yet rounded."""
        if self.options.shows_ram:
            return np.concatenate(self.stack)
        shown = np.stack(self.stack, axis=2)
        return shown.reshape(*shown.shape[:2], -1)
