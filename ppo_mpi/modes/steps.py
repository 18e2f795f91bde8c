"""One timestep of an evaluated episode, as callbacks see it, and who may choose its action.

Axes: A actions; S numbers that the policy remembers of an episode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppo_mpi.agent import Agent


@dataclass(frozen=True)
class Step:
    """What was seen, thought and done in one timestep of one episode, and what came of it."""

    episode: int
    """The episode's number, from 0: it fixes level and all randomness."""
    step: int
    """Timesteps of the episode before this one."""
    observation: np.ndarray
    """What was acted on: the environment's own observation as one array, images uint8 [H, W, C],
    vectors float32 [F], images and vectors together packed into bytes (``obs_spec.unpack``)."""
    action: np.ndarray
    """What the suite was given: [] int64, or [K] int64 or float32."""
    reward: float
    """Raw."""
    value: float
    """The agent's estimate of the discounted return from the observation on."""
    probabilities: np.ndarray | None
    """[A] float32, of the actions, where one of A is chosen; else None."""
    memory: np.ndarray
    """[S] float32, what a recurrent policy remembered before it saw the observation (S = 0 for
    others)."""
    terminated: bool
    """Whether the episode ended for good with this step."""
    truncated: bool
    """Whether it was cut short."""
    level: int
    """The level; -1 where the suite has none."""
    episode_return: float
    """Sum of the raw rewards up to and including this step."""
    info: Mapping[str, float] = field(default_factory=dict)
    """What the suite tells of the episode, by name, with its last step."""
    final_observation: np.ndarray | None = None
    """What the last step of an episode led to, where the suite knows it; None in all others."""
    activations: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Layer -> what it gave, where that was asked for."""

    @property
    def done(self) -> bool:
        """Whether the episode ended, in either way."""
        return self.terminated or self.truncated


Callback = Callable[[Step], bool | None]
"""Is called with every step; True ends the evaluation."""

Forced = Any | Sequence[Any] | Callable[[Any, int], Any]
"""Actions that are taken instead of the agent's: one for every step; a list, of which the n-th is
taken in the n-th step of each episode (None, or its end, leaves the agent its own); or a function
of observation and step, both as the environment gives them, that returns one or None."""


def forced_action(forced: Forced, agent: Agent, obs: np.ndarray, step: int) -> np.ndarray | None:
    """Return the action [] or [K] that is forced in a step; None leaves it to the agent.

    Args:
        forced: see ``Forced``.
        agent: who would act.
        obs: the observation's row.
        step: of the episode.

    Raises:
        ValueError: the action is none of the environment's.
    """
    if callable(forced):
        action = forced(agent.spaces.shown(obs), step)
    elif isinstance(forced, list):
        action = forced[step] if step < len(forced) else None
    else:
        action = forced
    if action is None:
        return None
    return agent.spaces.checked(action)


@dataclass(frozen=True)
class Watcher:
    """Who looks at the steps of an evaluation, and who acts in the agent's place."""

    callback: Callback | None = None
    """Sees every step."""
    forced: Forced | None = None
    """Actions in place of the agent's."""
    layers: tuple[str, ...] | None = None
    """Names or patterns of the layers whose activations are wanted; None for none at all."""
