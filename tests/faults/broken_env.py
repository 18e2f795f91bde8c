"""A Gymnasium environment that breaks in a chosen way, in one environment of the job.

Registered as ``Broken-v0`` when this module is imported: ``gym:broken_env:Broken-v0`` imports it.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv


class BrokenEnv(CartPoleEnv):
    """CartPole until a chosen step; which of the job's environments breaks is seen by its start."""

    def __init__(self, how: str = "", step: int = 100, every: int = 0, **keywords: Any) -> None:
        """Choose.

        Args:
            how: ``reward``, ``observation`` or ``infinity`` (not finite), ``raise`` or ``reset``;
                ``always`` raises in every step of every environment; ``exit`` ends the process
                and ``hang`` never returns.
            step: the step, counted over all episodes, in which it happens.
            every: happens again after as many steps; 0 = never again.
            keywords: CartPole's.
        """
        super().__init__(**keywords)
        self._how, self._step, self._every = how, step, every
        self._steps = 0
        self._is_chosen: bool | None = None

    def _is_time(self) -> bool:
        late = self._steps - self._step
        return bool(self._is_chosen) and (
            late == 0 or (self._every > 0 and late > 0 and late % self._every == 0)
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode; the first one tells whether this environment is the chosen one."""
        obs, info = super().reset(seed=seed, options=options)
        if self._is_chosen is None:
            # About an eighth of all starts, the same ones wherever the environment lives.
            self._is_chosen = obs[0] > 0.0375
        if self._how == "reset" and self._is_chosen and self._steps >= self._step > 0:
            self._step = 0
            raise ValueError("broken on purpose in reset")
        return obs, info

    def step(self, action: Any) -> Any:
        """Take a step; or break."""
        self._steps += 1
        if self._how == "always":
            raise ValueError("broken on purpose")
        obs, reward, terminated, truncated, info = super().step(action)
        if self._is_time():
            if self._how == "raise":
                raise ValueError("broken on purpose")
            if self._how == "exit":
                os._exit(7)
            if self._how == "hang":
                time.sleep(3600)
            if self._how == "reward":
                reward = math.nan
            if self._how in ("observation", "infinity"):
                obs = np.full_like(obs, math.nan if self._how == "observation" else math.inf)
        return obs, reward, terminated, truncated, info


gymnasium.register("Broken-v0", BrokenEnv, max_episode_steps=200)
