"""Draws and closes Gymnasium's environments, MuJoCo's from the thread that draws."""

from __future__ import annotations

import functools
from typing import Any

from ppo_mpi.envs import gym_state
from ppo_mpi.envs.mujoco_rendering import close_at_exit, draw, is_closed


def frame(env: Any) -> Any:
    """Return what ``render`` does, from the thread that draws if MuJoCo does."""
    if not _draws_by_mujoco(env):
        return env.render()
    picture = draw(env.render)
    close_at_exit(env, functools.partial(draw, env.close))
    return picture


def close(env: Any) -> None:
    """Free an environment, in the thread that draws if MuJoCo does."""
    is_closed(env)
    if _draws_by_mujoco(env):
        draw(env.close)
    else:
        env.close()


def _draws_by_mujoco(env: Any) -> bool:
    inner = env.unwrapped
    by_shell = isinstance(inner, gym_state.Shell) and inner.draws_by_mujoco
    return by_shell or hasattr(inner, "mujoco_renderer")
