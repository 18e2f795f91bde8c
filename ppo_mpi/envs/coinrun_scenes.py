"""Coinrun's levels: where coin, sections and agent are, and edits of them, on states of the engine.

Cells are (x, y), counted from the lower left. A level's sections begin at column 5; the coin
stands in the column behind the last one, and behind that all is wall.
"""

from __future__ import annotations

import numpy as np

from ppo_mpi.envs.procgen_scene import EMPTY, HALF_HEIGHT, HALF_WIDTH, SPEED_X, SPEED_Y, Scene, X, Y

COIN = 1
WALL_MIDDLE, WALL_TOP = 15, 16
BARRIER = 19
"""A cell that only turns enemies back; the engine puts two beside every section's beginning."""
FIRST_SECTION = 5
LAST_AGENT_Y = 0
"""Place of the agent's last height among what coinrun alone has."""
PLACES = ("beginning", "middle", "end")

Cell = tuple[int, int]


def coin_cell(scene: Scene) -> Cell | None:
    """Return where the coin is; None if it was taken away."""
    found = np.flatnonzero(scene.grid.reshape(-1) == COIN)
    if not len(found):
        return None
    y, x = divmod(int(found[0]), scene.grid.shape[1])
    return x, y


def ground_heights(scene: Scene) -> np.ndarray:
    """Return [columns] int64, the first cell above the ground of each column."""
    ground = (scene.grid == WALL_MIDDLE) | (scene.grid == WALL_TOP)
    heights: np.ndarray = np.logical_and.accumulate(ground, axis=0).sum(0)
    return heights


def level_end(scene: Scene, heights: np.ndarray) -> Cell:
    """Return the cell where the engine puts the coin: before the wall up to the ceiling.

    Args:
        scene: a level whose wall is as the engine makes it.
        heights: of its ground.
    """
    # Column 0 is a wall up to the ceiling, too.
    x = int((heights[1:] == scene.grid.shape[0]).argmax())
    return x, int(heights[x])


def section_starts(scene: Scene) -> list[Cell]:
    """Return the leftmost cell of each section, standing on its ground.

    A section has its ground at another height than the one before. Where it is higher, the engine
    leaves a barrier before its beginning; where it is lower, one above it, at the old height.
    """
    heights = ground_heights(scene)
    end, _ = level_end(scene, heights)
    grid, columns = scene.grid, np.arange(FIRST_SECTION, end)
    here, before = heights[columns], heights[columns - 1]
    rises = grid[here, columns - 1] == BARRIER
    is_wall = np.isin(grid[here, columns - 1], (WALL_MIDDLE, WALL_TOP))
    falls = is_wall & (grid[before, columns] == BARRIER)
    starts = columns[rises | falls]
    return [(int(x), int(heights[x])) for x in starts]


def with_coin_at(state: bytes, cell: Cell | None) -> bytes:
    """Return the state with its coin elsewhere, or without one if ``cell`` is None."""
    scene = Scene(state)
    old = coin_cell(scene)
    if old is not None:
        scene.grid[old[1], old[0]] = EMPTY
    if cell is not None:
        scene.grid[cell[1], cell[0]] = COIN
    return scene.state()


def with_agent_at(state: bytes, cell: Cell) -> bytes:
    """Return the state with its agent standing still in a cell, on the ground of that cell."""
    scene = Scene(state)
    place = scene.places[scene.agent]
    place[X] = cell[0] + 0.5
    place[Y] = cell[1] + place[HALF_HEIGHT]
    place[[SPEED_X, SPEED_Y]] = 0
    scene.game.view(np.float32)[LAST_AGENT_Y] = place[Y]
    return scene.state()


def place_of(state: bytes, place: str) -> Cell:
    """Return the cell of a place in the level, on firm ground.

    Args:
        state: of a level that begins.
        place: ``beginning`` of the first section, of the ``middle`` one, or the ``end``: the cell
            before the wall, where the coin stands in a level that was not changed.

    Raises:
        ValueError: there is no such place.
    """
    scene = Scene(state)
    starts = section_starts(scene)
    if place == "beginning":
        return starts[0]
    if place == "middle":
        return starts[len(starts) // 2]
    if place == "end":
        return level_end(scene, ground_heights(scene))
    raise ValueError(f"place={place!r} is none of a level's; use {', '.join(PLACES)}")


def touches(scene: Scene, cell: Cell) -> bool:
    """Return whether the agent's box reaches into a cell."""
    place = scene.places[scene.agent]
    x, y = float(place[X]), float(place[Y])
    half, tall = float(place[HALF_WIDTH]), float(place[HALF_HEIGHT])
    return abs(x - cell[0] - 0.5) < half + 0.5 and abs(y - cell[1] - 0.5) < tall + 0.5
