"""Which episodes an evaluation plays: sets of levels, their order, games, and their score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppo_mpi.agent import Agent
from ppo_mpi.envs.procgen_scores import normalized_score
from ppo_mpi.envs.several import game_of
from ppo_mpi.errors import ConfigError
from ppo_mpi.levels import level_of_episode
from ppo_mpi.modes.evaluation_tables import PlayedEpisode
from ppo_mpi.registry import names_of, split_env_name
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.settings.level_sets import level_set

MOST_LISTED = 10**6
"""Training levels up to which each of them is played when so wished."""


def level_names(agent: Agent, levels: str) -> list[str]:
    """Return the sets of levels that are meant by ``levels``."""
    if not agent.has_levels:
        return ["train"]
    if levels != "both":
        return [levels]
    # Who trained on all levels has no held-out ones; fresh levels are the same as any.
    return ["train", "test"] if agent.config.procgen.is_restricted else ["test"]


def playing_order(agent: Agent, levels: str, config: EvaluateConfig) -> tuple[str, int]:
    """Return which levels are played in turn, and how many episodes there are.

    Args:
        agent: who plays.
        levels: train, test, a range or a list.
        config: how many, in all or on each level.

    Raises:
        ConfigError: episodes on each level are asked for, and there are no levels.
    """
    per_level = config.episodes_per_level
    if not per_level:
        return levels, config.episodes
    if not agent.has_levels:
        raise ConfigError(
            f"episodes_per_level={per_level}: {agent.config.environment.env} has no levels; use "
            "--episodes"
        )
    procgen = agent.config.procgen
    listed = level_set(levels)
    if levels == "train" and 0 < len(procgen.training_levels) <= MOST_LISTED:
        return levels, per_level * len(procgen.training_levels)
    if listed is None:
        drawn = range(config.episodes)
        listed = [level_of_episode(levels, k, procgen, config.seed) for k in drawn]
        levels = ",".join(map(str, listed))
    return levels, per_level * len(listed)


def num_places(agent: Agent, episodes: int, num_envs: int) -> int:
    """Return in how many environments episodes are played, at most about ``num_envs``.

    Of several games, episode n is of the n-th in turn: their number divides that of the places.
    """
    games = len(names_of(agent.config.environment.env))
    return min(max(num_envs // games, 1) * games, episodes)


def env_indices(agent: Agent, numbers: Sequence[Sequence[int]]) -> Sequence[int]:
    """Return the indices of the environments that play these episodes, a list of them in each.

    Of several games, which one an environment plays is told by its index in the whole job.
    """
    return [own[0] for own in numbers] if len(agent.games) > 1 else range(len(numbers))


def normalized_mean(agent: Agent, played: Sequence[PlayedEpisode]) -> float | None:
    """Return the normalized Procgen score, of several games their mean; None for other suites."""
    suite, _ = split_env_name(agent.config.environment.env)
    games = [split_env_name(name)[1] for name in names_of(agent.config.environment.env)]
    returns: dict[str, list[float]] = {}
    for e in played:
        returns.setdefault(game_of(e.episode, games), []).append(e.episode_return)
    if suite != "procgen":
        return None
    mode, changes = agent.config.procgen.distribution_mode, agent.config.variants
    scores = [
        normalized_score(game, mode, changes, float(np.mean(own))) for game, own in returns.items()
    ]
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if len(known) == len(scores) else None
