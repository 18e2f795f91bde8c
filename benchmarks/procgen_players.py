"""Players that see the engine's states and finish levels, for tests and benchmarks of variants."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from ppo_mpi.envs.chest_levels import CHEST_HALF, KEY_HALF, chest_places, gaps, key_places
from ppo_mpi.envs.maze_variants import GOAL, WALL, Cell, find
from ppo_mpi.envs.procgen_scene import Scene, X, Y

NOTHING = 4
RIGHT, RIGHT_UP = 7, 8


def action_towards(right: int, up: int) -> int:
    """Return the engine's action for a direction, -1 to 1 each."""
    return 3 * (right + 1) + up + 1


def scenes(envs: Any) -> list[Scene]:
    """Return what stands in each slot now."""
    return [Scene(envs._get(slot)) for slot in range(len(envs.indices))]


def path(scene: Scene, start: Cell, goals: set[Cell]) -> list[Cell]:
    """Return the cells from ``start`` to the nearest goal, both included."""
    came: dict[Cell, Cell] = {start: start}
    queue = deque([start])
    height, width = scene.grid.shape
    while queue:
        cell = queue.popleft()
        if cell in goals:
            way = [cell]
            while way[-1] != start:
                way.append(came[way[-1]])
            return way[::-1]
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            x, y = cell[0] + right, cell[1] + up
            inside = 0 <= x < width and 0 <= y < height
            if inside and (x, y) not in came and scene.grid[y, x] != WALL:
                came[x, y] = cell
                queue.append((x, y))
    raise AssertionError(f"there is no way from {start} to {goals}")


def maze_action(scene: Scene, goal: Cell | None = None) -> int:
    """Return the step on the shortest way to a cell, to the level's goal if it is None."""
    goal = goal or find(scene, GOAL)
    assert goal is not None
    start = scene.agent_cell()
    way = path(scene, start, {goal})
    if len(way) == 1:
        return NOTHING
    return action_towards(way[1][0] - start[0], way[1][1] - start[1])


def chest_action(scene: Scene, held: int) -> int:
    """Return the step on the way to the nearest chest, or to a key if none is held."""
    places, half = key_places(scene), KEY_HALF
    if held:
        places, half = chest_places(scene), CHEST_HALF
    agent = scene.places[scene.agent]
    nearest = places[gaps(scene, places, half).argmin()]
    way = path(scene, scene.agent_cell(), {(int(x), int(y)) for x, y in places})
    if len(way) == 1:
        target = nearest
    else:
        target = np.array(way[1]) + 0.5
        # Corners are turned in the middle of a cell.
        along_x = way[1][0] != way[0][0]
        off = (way[0][1] + 0.5 - agent[Y]) if along_x else (way[0][0] + 0.5 - agent[X])
        if abs(off) > 0.12:
            return (
                action_towards(0, int(np.sign(off)))
                if along_x
                else action_towards(int(np.sign(off)), 0)
            )
    right, up = target - agent[[X, Y]]
    if abs(right) > abs(up):
        return action_towards(int(np.sign(right)), 0)
    return action_towards(0, int(np.sign(up)))


def coinrun_actions(rng: np.random.Generator, num: int) -> np.ndarray:
    """Return [num] int64: mostly to the right, and often jumping."""
    actions = rng.choice([RIGHT, RIGHT_UP], size=num, p=[0.6, 0.4])
    return np.where(rng.random(num) < 0.05, rng.integers(15, size=num), actions)
