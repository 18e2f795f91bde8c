"""Which level an episode is played on, by the episode's number alone."""

from __future__ import annotations

import numpy as np

from ppo_mpi.seeding import generator
from ppo_mpi.settings.level_sets import level_set
from ppo_mpi.settings.procgen import ProcgenConfig

ALL_LEVELS = 2**31 - 1
"""Number of levels of a Procgen game."""


def level_of_episode(levels: str, episode: int, procgen: ProcgenConfig, seed: int) -> int:
    """Return the level of an episode.

    Args:
        levels: ``"train"`` (evenly over the training levels, in an order drawn from the seed),
            ``"test"`` (drawn from all levels but those), or a range or a list such as
            ``"0:200"``, ``"0-199"`` or ``"3,7,12"`` (in turn).
        episode: number of the episode, from 0.
        procgen: the training levels.
        seed: of the evaluation.
    """
    start, count = procgen.start_level, procgen.num_levels
    if levels == "train" and 0 < count <= 10**6:
        order = generator(seed, "level order").permutation(count)
        return start + int(order[episode % count])
    if levels in ("train", "test"):
        random = generator(seed, f"level:{levels}", episode)
        if levels == "train" and count:
            return start + int(random.integers(count))
        return _outside(random, start, count)
    listed = level_set(levels)
    assert listed, f"levels={levels!r} were checked"
    return listed[episode % len(listed)]


def is_training_level(level: int, procgen: ProcgenConfig) -> bool:
    """Return whether training knows the level; without a restricted set it knows all of them."""
    start, count = procgen.start_level, procgen.num_levels
    return not count or start <= level < start + count


def _outside(random: np.random.Generator, start: int, count: int) -> int:
    """Draw a level that is not one of the ``count`` from ``start``; 0 excludes none."""
    while True:
        level = int(random.integers(ALL_LEVELS))
        if not start <= level < start + count:
            return level
