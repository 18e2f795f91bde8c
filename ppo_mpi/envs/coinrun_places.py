"""Places of a coinrun level at which an agent's value is asked for, with the coin in view or away.

Cells are (x, y), counted from the lower left. The agent sees 13 x 13 cells around itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ppo_mpi.envs.coinrun_scenes import (
    WALL_MIDDLE,
    WALL_TOP,
    Cell,
    ground_heights,
    level_end,
    section_starts,
    with_agent_at,
    with_coin_at,
)
from ppo_mpi.envs.procgen_scene import EMPTY, Scene, X

PLACES = ("beginning", "middle", "end", "after end")
"""``beginning`` and ``middle`` are the first cells of the first and of the middle section; ``end``
is firm ground shortly before the cell where the coin usually lies; ``after end`` is that cell."""
FEWEST_SECTIONS = 3
"""With fewer, beginning, middle and end would be nearly the same."""
BEFORE_END = (3, 4, 5, 2)
"""Columns between the agent at the ``end`` and where the coin usually lies, the best first."""
AHEAD = (3, 4, 2, 5, -3, -4, -2, -5)
"""Columns from the agent to a coin in view, the best first: nearer it would be touched."""
HIGHEST = 4
"""Rows that a coin in view is above or below the agent at most."""


def agent_cells(state: bytes) -> dict[str, Cell] | None:
    """Return place -> the cell in which the agent stands there.

    Args:
        state: of a level that begins, with its wall as the engine makes it.

    Returns:
        None where the level has too few sections, or no firm ground before its end.
    """
    scene = Scene(state)
    starts, heights = section_starts(scene), ground_heights(scene)
    if len(starts) < FEWEST_SECTIONS:
        return None
    last = level_end(scene, heights)
    before = first_free(scene, heights, (last[0] - columns for columns in BEFORE_END), last[1])
    if before is None:
        return None
    cells = (starts[0], starts[len(starts) // 2], before, last)
    return dict(zip(PLACES, cells, strict=True))


def coin_in_view(state: bytes, place: str, agent: Cell) -> Cell | None:
    """Return where a coin can lie that the agent sees; None if there is no such cell.

    At the ``end`` that is where the coin usually lies; elsewhere it is on the ground some columns
    ahead, and behind the agent where it cannot be ahead.

    Args:
        state: of a level that begins.
        place: of ``PLACES``.
        agent: where the agent stands.
    """
    scene = Scene(state)
    heights = ground_heights(scene)
    if place == "end":
        return level_end(scene, heights)
    return first_free(scene, heights, (agent[0] + columns for columns in AHEAD), agent[1])


def placed(state: bytes, agent: Cell, coin: Cell | None) -> bytes:
    """Return the state with agent and coin in these cells; None takes the coin away."""
    return with_agent_at(with_coin_at(state, coin), agent)


def first_free(
    scene: Scene, heights: np.ndarray, columns: Iterable[int], level: int
) -> Cell | None:
    """Return the first cell of some columns with firm ground below, nothing in it and nobody near.

    Args:
        scene: of a level that begins.
        heights: of its ground.
        columns: in the order in which they are tried.
        level: row from which it may be ``HIGHEST`` away.
    """
    others = np.delete(scene.places[:, X], scene.agent)
    for x in columns:
        if not 0 < x < len(heights):
            continue
        y = int(heights[x])
        if y >= len(scene.grid) or abs(y - level) > HIGHEST:
            continue
        is_firm = scene.grid[y - 1, x] in (WALL_MIDDLE, WALL_TOP)
        near = bool((np.abs(others - x - 0.5) < 1).any())
        # The coin of the level itself will be moved away.
        if is_firm and scene.grid[y, x] == EMPTY and not near:
            return x, y
    return None
