"""CartPole with one bit as its action, MultiBinary(1): 1 pushes to the right.

An environment of one's own, by its maker's name: ``train benchmarks.binary_cartpole:make_env``.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


def make_env(**kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Make one of 200 steps, as CartPole-v0 is; ``kwargs`` are CartPole's."""
    return gymnasium.wrappers.TransformAction(
        gymnasium.make("CartPole-v1", max_episode_steps=200, **kwargs),
        lambda bits: int(np.asarray(bits).ravel()[0]),
        gymnasium.spaces.MultiBinary(1),
    )
