"""How an agent acts in episodes that are to have the same bits wherever they are played.

Axes: B environments on this rank; K noise numbers of an action; S numbers that the policy remembers
of an episode.
"""

from __future__ import annotations

import numpy as np

from ppo_mpi.agent import Agent

ROWS = 16
"""Observations that go through the network at once. Always the same number (padded with zeros),
so that a result has the same bits wherever its episode is played."""


def act_for(
    agent: Agent,
    obs: np.ndarray,
    active: list[int],
    noise: np.ndarray | None,
    memory: np.ndarray,
) -> np.ndarray:
    """Return actions for [B, ...] observations; zeros where nobody plays any more.

    What the agent remembers, ``memory`` [B, S], is changed in place.
    """
    own = memory[active]
    actions = act_in_rows(agent, obs[active], noise, own)
    memory[active] = own
    all_actions = np.zeros((len(obs), *actions.shape[1:]), actions.dtype)
    all_actions[active] = actions
    return all_actions


def act_in_rows(
    agent: Agent, obs: np.ndarray, noise: np.ndarray | None, memory: np.ndarray | None = None
) -> np.ndarray:
    """Return actions for [B, ...] observations, ``ROWS`` at a time, the last ones padded.

    Args:
        agent: who acts.
        obs: raw.
        noise: [B, K] to sample; None takes the most likely actions.
        memory: [B, S] float32, changed in place; may be left out where nothing is remembered.
    """
    actions = []
    for start in range(0, len(obs), ROWS):
        rows = slice(start, start + ROWS)
        num = len(obs[rows])
        numbers = None if noise is None else _in_rows(noise[rows])
        known = None if memory is None else _in_rows(memory[rows])
        acted = agent.act(_in_rows(obs[rows]), numbers, known)
        actions.append(acted.actions[:num])
        if memory is not None:
            memory[rows] = acted.memory[:num]
    return np.concatenate(actions)


def _in_rows(part: np.ndarray) -> np.ndarray:
    """Return [ROWS, ...]: at most as many rows [n, ...], and zeros."""
    padded = np.zeros((ROWS, *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    return padded
