"""How an agent acts in episodes that are to have the same bits wherever they are played.

Axes: B environments on this rank; K noise numbers of an action; S numbers that the policy remembers
of an episode.
"""

from __future__ import annotations

import numpy as np

from ppo_mpi.agent import Agent
from ppo_mpi.predicting import act_in_rows as acted_in_rows


def act_in_rows(
    agent: Agent, obs: np.ndarray, noise: np.ndarray | None, memory: np.ndarray | None = None
) -> np.ndarray:
    """Return actions for [B, ...] observations, always as many at a time; see predicting.py.

    What the agent remembers, ``memory`` [B, S], is changed in place.
    """
    acted = acted_in_rows(agent, obs, noise, memory)
    if memory is not None:
        memory[:] = acted.memory
    return acted.actions


def spread(rows: np.ndarray, active: list[int], num: int) -> np.ndarray:
    """Return [num, ...]: the rows where somebody plays, zeros elsewhere."""
    everywhere = np.zeros((num, *rows.shape[1:]), rows.dtype)
    everywhere[active] = rows
    return everywhere
