"""Levels of keys and chests, made of heist's mazes: what stands where, on states of the engine.

To the engine a key is one of its own. A chest is one of its doors, of which the agent has the
keys, so that both vanish when they are touched; a chest that cannot be opened is an object of a
kind that the engine does not know, with the same picture.
"""

from __future__ import annotations

import numpy as np

from ppo_mpi.envs.level_draws import LevelDraws
from ppo_mpi.envs.procgen_scene import (
    EMPTY,
    HALF_HEIGHT,
    HALF_WIDTH,
    IMAGE,
    SPEED_X,
    SPEED_Y,
    TYPE,
    Scene,
    X,
    Y,
    objects,
)

DOOR, KEY = 1, 2
LOCKED, ON_RING = 61, 62
"""Kinds that the engine does not know: nothing happens when they are touched."""
BLUE, GREEN = 0, 1
CHEST_HALF = (0.5, 0.5)
KEY_HALF = (0.375, 0.232)
# As the engine draws the keys that it holds, in parts of the view.
RING_HALF = (0.03, 0.0186)
RING_Y = 0.0225
RING_COLUMNS = {9: 1, 13: np.float32(np.pi / 2).view(np.int32), 20: 1}
"""Drawn late, upright, and in parts of the view instead of cells."""
ALL_KEYS = (3, 1, 1, 1)
"""The three keys that the engine takes the agent to have."""
SMALLEST_MAZE = 5


def make_level(scene: Scene, many_keys: bool, is_memory: bool) -> tuple[bytes, int]:
    """Return a level that begins, with keys, chests and agent in their places, and a number.

    Args:
        scene: of the game's own level.
        many_keys: whether there are twice as many keys as chests, instead of half as many.
        is_memory: whether the level is one of the memory mode.

    Returns:
        the state, and how many chests can be opened: what there are less of.
    """
    draws = LevelDraws(scene.level, "keys and chests")
    free = scene.grid == EMPTY
    ys, xs = np.nonzero(free)
    larger = (int(xs.max() - xs.min()) + 1 - SMALLEST_MAZE) // 2
    number = draws.below(4) + 1 if is_memory else larger + draws.below(2) + 1
    num_chests, num_keys = (number, 2 * number) if many_keys else (2 * number, number)
    ways = ways_from(free)[ys, xs]
    cells = np.stack([xs, ys], 1)
    order = draws.some_of(np.flatnonzero(ways > 1).tolist(), num_chests + num_keys)
    rest = sorted(set(range(len(cells))) - set(order))
    agent = scene.entities[scene.agent : scene.agent + 1].copy()
    place = agent.view(np.float32)[0]
    place[[X, Y]] = cells[rest[draws.below(len(rest))]] + 0.5
    place[[SPEED_X, SPEED_Y]] = 0
    chests = cells[order[:num_chests]] + 0.5
    keys = cells[order[num_chests:]] + 0.5
    # Keys lie anywhere in their cell, as the game's own do.
    for key in keys:
        key += [(draws.below(1001) / 500 - 1) * (0.5 - half) for half in KEY_HALF]
    made = [
        objects(chests, CHEST_HALF, LOCKED, DOOR, BLUE),
        objects(keys, KEY_HALF, KEY, KEY, GREEN),
    ]
    game = np.array([len(ALL_KEYS) - 1, scene.game[1], *ALL_KEYS])
    return scene.rebuilt(np.concatenate([agent, *made]), game), number


def ways_from(free: np.ndarray) -> np.ndarray:
    """Return [height, width] int64, the free neighbors of each cell."""
    around = np.pad(free, 1).astype(int)
    ways: np.ndarray = around[2:, 1:-1] + around[:-2, 1:-1] + around[1:-1, 2:] + around[1:-1, :-2]
    return ways


def key_places(scene: Scene) -> np.ndarray:
    """Return [n, 2] float32, the middles of the keys that lie about."""
    return scene.places[scene.entities[:, TYPE] == KEY][:, [X, Y]]


def chest_places(scene: Scene) -> np.ndarray:
    """Return [n, 2] float32, the middles of the chests that are closed."""
    return scene.places[scene.entities[:, IMAGE] == DOOR][:, [X, Y]]


def with_things(scene: Scene, chests: np.ndarray, held: int) -> bytes:
    """Return the state with these chests, and so many keys in the agent's hands.

    Args:
        scene: keys that lie about and the agent stay as they are.
        chests: [n, 2] the middles of the closed ones.
        held: keys; the chests can be opened if there are some.
    """
    kinds = scene.entities[:, TYPE]
    agent = scene.entities[scene.agent : scene.agent + 1]
    ring = np.array([(1 - RING_HALF[0] * (2 * i + 1.25), RING_Y) for i in range(held)])
    on_ring = objects(ring.reshape(-1, 2), RING_HALF, ON_RING, KEY, GREEN)
    for column, value in RING_COLUMNS.items():
        on_ring[:, column] = value
    made = [
        agent,
        objects(chests, CHEST_HALF, DOOR if held else LOCKED, DOOR, BLUE),
        scene.entities[kinds == KEY],
        on_ring,
    ]
    return scene.rebuilt(np.concatenate(made), scene.game)


def gaps(scene: Scene, places: np.ndarray, half: tuple[float, float]) -> np.ndarray:
    """Return [n] float64, what is between the agent's box and others; below 0 where they touch.

    Args:
        scene: has the agent.
        places: [n, 2] their middles.
        half: half their width and half their height.
    """
    agent = scene.places[scene.agent]
    reach = agent[[HALF_WIDTH, HALF_HEIGHT]].astype(float) + half
    between: np.ndarray = (np.abs(places.astype(float) - agent[[X, Y]]) - reach).max(1)
    return between
