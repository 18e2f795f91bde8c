"""Which Procgen levels are the same: fingerprints of how a level is laid out and how it looks.

A level's seed decides everything in it, but some games have so few ways to lay out a small level
that different seeds give the same one. Two fingerprints are taken of a level's first moment: of
its *layout* (the grid, and kind, place, motion and size of each object), and of the first *picture*
that the agent sees. The layout leaves out how things look: background, theme of the walls, color.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppo_mpi.envs import procgen_state
from ppo_mpi.envs.base import VecEnvs

DRAWN_WHILE_PLAYED = ("bigfish", "bossfight", "leaper", "plunder", "starpilot")
"""Games that draw most of a level while it is played: its first moment says little about it."""


@dataclass(frozen=True)
class LevelPrint:
    """Fingerprints of one level."""

    layout: bytes
    picture: bytes


def layout_of(state: bytes) -> bytes:
    """Return a fingerprint of the grid and the objects in one environment's state.

    Args:
        state: as the engine gives it, without the checksum.

    Raises:
        ValueError: the bytes do not follow the layout that ``procgen_state`` knows.
    """
    entities, grid = procgen_state.contents(state)
    shapes = sorted(entity[: procgen_state.ENTITY_TYPE + 1] for entity in entities)
    return hashlib.blake2b(repr((shapes, grid)).encode(), digest_size=16).digest()


def level_prints(envs: VecEnvs, levels: Sequence[int]) -> list[LevelPrint] | None:
    """Return the fingerprints of levels, by beginning an episode on each.

    Args:
        envs: of one Procgen game, on all levels; their episodes are lost.
        levels: in any order.

    Returns:
        one for each level; None if the environments cannot show their states.
    """
    count = len(envs.indices)
    found: list[LevelPrint] = []
    for start in range(0, len(levels), count):
        part = levels[start : start + count]
        for slot in range(count):
            envs.assign(slot, 0, part[min(slot, len(part) - 1)])
        obs = envs.reset()
        for slot, sealed in enumerate(envs.get_states()[: len(part)]):
            if sealed is None:
                return None
            try:
                layout = layout_of(procgen_state.unseal(sealed))
            except ValueError:
                return None
            picture = hashlib.blake2b(np.ascontiguousarray(obs[slot]).tobytes(), digest_size=16)
            found.append(LevelPrint(layout, picture.digest()))
    return found


def same_levels(
    levels: Sequence[int],
    prints: Sequence[LevelPrint],
    known: Sequence[int],
    known_prints: Sequence[LevelPrint],
) -> dict[int, tuple[int, bool]]:
    """Find the levels that are laid out as a known one.

    Args:
        levels: those to look for.
        prints: theirs, in the same order.
        known: those to look among.
        known_prints: theirs, in the same order.

    Returns:
        level -> (the known level with its layout, whether the picture is the same as well); a
        known level that looks the same is preferred, then the lowest.
    """
    by_layout: dict[bytes, list[int]] = {}
    looks = dict(zip(known, known_prints, strict=True))
    for level in sorted(known):
        by_layout.setdefault(looks[level].layout, []).append(level)
    found = {}
    for level, own in zip(levels, prints, strict=True):
        alike = by_layout.get(own.layout, [])
        twins = [other for other in alike if looks[other].picture == own.picture]
        if alike:
            found[level] = ((twins or alike)[0], bool(twins))
    return found
