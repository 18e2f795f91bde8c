"""Which level an episode is played on, by the episode's number alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppo_mpi.seeding import generator
from ppo_mpi.settings.level_sets import level_set
from ppo_mpi.settings.procgen import NUM_LEVELS as ALL_LEVELS
from ppo_mpi.settings.procgen import ProcgenConfig


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
    known = procgen.training_levels
    if levels == "train" and 0 < len(known) <= 10**6:
        order = generator(seed, "level order").permutation(len(known))
        return known[int(order[episode % len(known)])]
    if levels in ("train", "test"):
        random = generator(seed, f"level:{levels}", episode)
        if levels == "train" and known:
            return known[int(random.integers(len(known)))]
        return _outside(random, known)
    listed = level_set(levels)
    assert listed, f"levels={levels!r} were checked"
    return listed[episode % len(listed)]


def is_training_level(level: int, procgen: ProcgenConfig) -> bool:
    """Return whether training knows the level; without a restricted set it knows all of them."""
    return not procgen.is_restricted or level in procgen.training_levels


def _outside(random: np.random.Generator, known: Sequence[int]) -> int:
    """Draw a level that is not one of ``known``."""
    while True:
        level = int(random.integers(ALL_LEVELS))
        if level not in known:
            return level
