"""A trained agent used from Python: an action for an observation, and its environment.

Axes: B environments; K noise numbers of an action; S numbers that the policy remembers of an
episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppo_mpi.envs.gym_single import SingleEnv, as_gymnasium
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.distributions import draw_noise
from ppo_mpi.seeding import generator
from ppo_mpi.settings.checks import at_least
from ppo_mpi.settings.level_sets import check_levels

if TYPE_CHECKING:
    from ppo_mpi.agent import Agent

ROWS = 16
"""Observations that go through the network at once. Always the same number (padded with zeros),
so that a result has the same bits wherever its episode is played."""


@dataclass(frozen=True)
class ActResult:
    """What the agent does, thinks and remembers in B environments."""

    actions: np.ndarray
    """[B, ...] as the environments take them: [B] int64, or [B, A] int64 or float32."""
    values: np.ndarray
    """[B] float32, predicted discounted return (of normalized rewards, if the run had them)."""
    probabilities: np.ndarray | None
    """[B, A] float32 for discrete actions."""
    memory: np.ndarray
    """[B, S] float32, what a recurrent policy remembers then (S = 0 for others): hand it over with
    the next observations, with zeros for environments in which an episode begins."""


class Sampler:
    """The random numbers behind drawn actions, one environment after the other."""

    def __init__(self) -> None:
        """Begin with the seed 0."""
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Begin anew.

        Raises:
            ConfigError: the seed is below 0.
        """
        at_least(0, seed=seed)
        self.random = generator(seed, "predict:actions")


def act_in_rows(
    agent: Agent, obs: np.ndarray, noise: np.ndarray | None, memory: np.ndarray | None = None
) -> ActResult:
    """Let an agent act on [B, ...] observations, ``ROWS`` at a time, the last ones padded.

    Args:
        agent: who acts.
        obs: raw.
        noise: [B, K] to sample; None takes the most likely actions.
        memory: [B, S] float32, of the step before; may be left out where nothing is remembered.
    """
    if not len(obs):
        raise ValueError("nobody acts: there are no observations")
    parts = []
    for start in range(0, len(obs), ROWS):
        rows = slice(start, start + ROWS)
        num = len(obs[rows])
        numbers = None if noise is None else in_rows(noise[rows])
        known = None if memory is None else in_rows(memory[rows])
        acted = agent.act(in_rows(obs[rows]), numbers, known)
        own = acted.probabilities
        parts.append((
            acted.actions[:num], acted.values[:num], None if own is None else own[:num],
            acted.memory[:num],
        ))  # fmt: skip
    actions, values, probabilities, after = zip(*parts, strict=True)
    return ActResult(
        np.concatenate(actions), np.concatenate(values),
        None if probabilities[0] is None else np.concatenate(probabilities), np.concatenate(after),
    )  # fmt: skip


def in_rows(part: np.ndarray) -> np.ndarray:
    """Return [ROWS, ...]: at most as many rows [n, ...], and zeros."""
    padded = np.zeros((ROWS, *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    return padded


def predict(
    agent: Agent,
    observation: Any,
    state: np.ndarray | None,
    episode_start: Any,
    deterministic: bool,
) -> tuple[Any, np.ndarray | None]:
    """Return an agent's action for an observation, or its actions for several.

    Args:
        agent: who acts.
        observation: as its environment gives it, dicts and tuples too; or B of them, with B in
            front of each array's shape.
        state: what was returned with the action before: [S], or [B, S]; None where an episode
            begins, or where the policy remembers nothing.
        episode_start: whether an episode begins (for each of B), so that nothing is remembered.
        deterministic: whether the most likely action is taken instead of one drawn from the
            policy, by the seed of ``agent.seed``.

    Returns:
        the action as the environment takes it, within its bounds, or B of them in one array (for
        dicts and tuples of actions, in each); and the state for the next call, None where the
        policy remembers nothing.

    Raises:
        ValueError: observation, state or episode_start have other shapes, or the observation has
            a NaN or an infinity in it.
    """
    rows, is_batch = agent.spaces.rows(observation)
    _refuse_what_is_not_finite(agent.model.obs_spec.vectors(rows), is_batch)
    num, memory = len(rows), agent.no_memory(len(rows))
    if state is not None and memory.size:
        known = np.asarray(state, np.float32)
        if known.shape != (memory.shape if is_batch else memory.shape[1:]):
            raise ValueError(
                f"state has the shape {list(known.shape)}, but this policy remembers "
                f"{memory.shape[1]} numbers of each of {num} episodes; hand over what predict() "
                "returned, or None"
            )
        memory = known.reshape(memory.shape).copy()
    if episode_start is not None:
        begins = np.asarray(episode_start, bool).reshape(-1)
        if len(begins) not in (1, num):
            raise ValueError(f"episode_start has {len(begins)} flags for {num} observations")
        memory[np.broadcast_to(begins, num)] = 0.0
    noise = None
    if not deterministic:
        noise = draw_noise(agent.sampler.random, num, agent.model.action_spec)
    acted = act_in_rows(agent, rows, noise, memory)
    actions = agent.spaces.actions_of(acted.actions)
    after = acted.memory if memory.shape[1] else None
    if is_batch:
        return agent.spaces.together(actions), after
    return actions[0], None if after is None else after[0]


def _refuse_what_is_not_finite(numbers: np.ndarray, is_batch: bool) -> None:
    """Raise where an observation of [B, ...] numbers has a NaN or an infinity in it."""
    bad = ~np.isfinite(numbers).reshape(len(numbers), -1)
    if bad.any():
        row = int(bad.any(1).argmax())
        which = f" of observation {row}" if is_batch else ""
        raise ValueError(
            f"number {int(bad[row].argmax())}{which} is {numbers[row].ravel()[bad[row]][0]}, of "
            "which no policy can make an action; mend the environment"
        )


def make_env(agent: Agent, seed: int, levels: str, render_mode: str | None) -> Any:
    """Return an agent's environment as one ``gymnasium.Env``, with its wrappers as in training.

    Its n-th episode is the n-th of ``evaluate`` with the same seed and levels.

    Args:
        agent: who knows it; of several games it is in the first (see ``shown_in``).
        seed: of its episodes, until ``reset`` names another.
        levels: train, test, a range or a list, for suites with levels.
        render_mode: rgb_array, for ``render``, or None.

    Raises:
        ConfigError: a value is out of its range.
    """
    at_least(0, seed=seed)
    check_levels(levels, allow_both=False)
    if render_mode not in (None, "rgb_array"):
        raise ConfigError(
            f"render_mode={render_mode!r} is not known; use rgb_array for pictures, or "
            "python -m ppo_mpi play for a window"
        )
    envs = agent.make_envs(
        1, seed, stream="evaluate", levels=levels, render=render_mode is not None
    )
    return as_gymnasium(
        SingleEnv(
            envs,
            agent.spaces,
            lambda own, episode, of_seed: agent.assign(own, 0, episode, levels, of_seed),
            seed,
            render_mode,
        )
    )
