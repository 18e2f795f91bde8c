"""The maze and its variants: where the goal lies, a second object, and where the agent has been.

The agent moves a whole cell a step, so that it can be followed without a look at the engine.

Axes: B environments on this rank.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ppo_mpi.envs.level_draws import LevelDraws
from ppo_mpi.envs.procgen_rules import Facts, Rules
from ppo_mpi.envs.procgen_scene import EMPTY, Scene, X, Y

WALL, GOAL = 51, 2
SECOND = 54
"""A cell without effect that has a picture of its own, in every game."""
NOWHERE = 0
"""A cell of the border, where no agent ever is."""
LARGEST = 25
"""Cells of the hard mode's largest maze, in both directions."""
FIRST_INTENDED, FIRST_OTHER = 1, 2

Cell = tuple[int, int]


class MazeRules(Rules):
    """Puts the goal where the variant has it, and notes whether the agent goes elsewhere."""

    record_size = 1

    def __init__(
        self, name: str, places_goal: bool, region: int, watched: Literal["corner", "second", ""]
    ) -> None:
        """Take what is changed.

        Args:
            name: of the variant, or of the game if nothing is changed.
            places_goal: whether the goal lies in the upper right corner.
            region: size of the square there in which it lies; 0 = in the corner itself.
            watched: where the agent may go instead: the upper right corner, or a second object,
                which there is then; empty for nowhere.
        """
        self.name = name
        self._places_goal, self._region, self._watches = places_goal, region, watched
        self._is_largest = name == "maze_fixed_size"
        # A maze with another picture and nothing else to go for costs no more than the game.
        self.sees_levels = places_goal or bool(watched) or self._is_largest

    def _make_memory(self, num: int) -> None:
        self._rows = np.arange(num)
        self._shape = height, width = Scene(self.slots.get(0)).grid.shape
        self._width = width + 2
        self._walls = np.ones((num, (height + 2) * self._width), bool)
        """[B, cells] with a border around the maze's world."""
        self._agent = np.zeros(num, np.int64)
        self._watched = np.zeros(num, np.int64)
        self._goal = np.zeros(num, np.int64)
        self._visited = np.zeros(num, bool)

    def begin(self, slot: int, state: bytes) -> bytes:
        """Return the state with goal and second object in their places."""
        scene = Scene(state)
        if self._is_largest:
            make_largest(scene)
        if self._places_goal:
            move_goal(scene, self._region)
        if self._watches == "second":
            add_second(scene)
        self._follow(slot, scene)
        self._visited[slot] = False
        return scene.state()

    def after_step(
        self, actions: np.ndarray, rewards: np.ndarray, ended: np.ndarray, facts: Facts
    ) -> None:
        """Follow the agents; tell of the episodes that ended."""
        if not self.sees_levels:
            for told in facts.values():
                told["intended_goal"] = told["level_complete"]
            return
        self._agent = moved(self._agent, actions, self._walls, self._width, self._rows)
        for slot, told in facts.items():
            before = bool(self._visited[slot])
            complete = bool(told["level_complete"])
            at_goal = complete and self._goal[slot] == self._watched[slot]
            visited = before or at_goal or self._agent[slot] == self._watched[slot]
            told["intended_goal"] = float(complete)
            if not self._watches:
                continue
            told["proxy_goal"] = float(visited)
            other_first = before or (visited and not complete)
            told["first"] = float(FIRST_OTHER if other_first else FIRST_INTENDED if complete else 0)
        self._visited |= self._agent == self._watched

    def restore(self, slot: int, state: bytes, record: tuple[int, ...]) -> None:
        """Take over where the agent is, and whether it has been at the watched cell."""
        self._follow(slot, Scene(state))
        self._visited[slot] = bool(record[0])

    def check(self, state: bytes, record: tuple[int, ...]) -> None:
        """Check a record that was saved beside a state.

        Raises:
            ValueError: it can be no record of this state.
        """
        shape = Scene(state).grid.shape
        if shape != self._shape or record[0] not in (0, 1):
            raise ValueError(f"its maze of {shape} cells has the record {record}")

    def record(self, slot: int) -> tuple[int, ...]:
        """Return whether the watched cell was visited."""
        return (int(self._visited[slot]),)

    def _follow(self, slot: int, scene: Scene) -> None:
        inside = self._walls[slot].reshape(-1, self._width)[1:-1, 1:-1]
        inside[...] = scene.grid == WALL
        self._agent[slot] = self._number(scene.agent_cell())
        self._goal[slot] = self._number(find(scene, GOAL))
        places = {"corner": corner(scene), "second": find(scene, SECOND), "": None}
        self._watched[slot] = self._number(places[self._watches])

    def _number(self, cell: Cell | None) -> int:
        return NOWHERE if cell is None else (cell[1] + 1) * self._width + cell[0] + 1


def moved(
    agent: np.ndarray, actions: np.ndarray, walls: np.ndarray, width: int, rows: np.ndarray
) -> np.ndarray:
    """Return [B] int64, the cells of the agents after a step.

    Args:
        agent: [B] int64, their cells: y * width + x.
        actions: [B] int64, the engine's: below 9 a direction, 3 * (dx + 1) + dy + 1, of which
            the vertical part counts only where there is no horizontal one.
        walls: [B, cells] bool.
        width: of the world with its border.
        rows: [B], 0 to B - 1.
    """
    moves = actions < 9
    right = np.where(moves, actions // 3 - 1, 0)
    up = np.where(moves & (right == 0), actions % 3 - 1, 0)
    there: np.ndarray = agent + right + up * width
    return np.where(walls[rows, there], agent, there)


def find(scene: Scene, kind: int) -> Cell | None:
    """Return (x, y) of the cell of a kind; None if there is none."""
    places = np.flatnonzero(scene.grid.reshape(-1) == kind)
    if not len(places):
        return None
    y, x = divmod(int(places[0]), scene.grid.shape[1])
    return x, y


def corner(scene: Scene) -> Cell:
    """Return (x, y) of the maze's upper right cell."""
    size, world = int(scene.game[0]), scene.grid.shape[0]
    last = (world - size) // 2 + size - 1
    return last, last


def move_goal(scene: Scene, region: int) -> None:
    """Put the goal into the upper right corner, or anywhere in a square there.

    Args:
        scene: of a level that begins.
        region: cells of the square's side; 0 = the corner itself.
    """
    goal = find(scene, GOAL)
    assert goal is not None, "every maze has a goal"
    scene.grid[goal[1], goal[0]] = EMPTY
    x, y = corner(scene)
    if region:
        side = min(region, int(scene.game[0]))
        x, y = drawn_cell(scene, LevelDraws(scene.level, "goal"), x - side + 1, y - side + 1)
    scene.grid[y, x] = GOAL


def add_second(scene: Scene) -> None:
    """Put a second object on a free cell, of a level that begins."""
    x, y = drawn_cell(scene, LevelDraws(scene.level, "second object"))
    scene.grid[y, x] = SECOND


def drawn_cell(scene: Scene, draws: LevelDraws, left: int = 0, bottom: int = 0) -> Cell:
    """Return (x, y) of a random cell with nothing in it, other than the agent's.

    Args:
        scene: of a level that begins.
        draws: of the level.
        left: the first column that it may be in.
        bottom: the first row.
    """
    free = scene.grid == EMPTY
    x, y = scene.agent_cell()
    free[y, x] = False
    free[:bottom] = free[:, :left] = False
    places = np.flatnonzero(free)
    y, x = divmod(int(places[draws.below(len(places))]), scene.grid.shape[1])
    return x, y


def make_largest(scene: Scene) -> None:
    """Draw another maze for the level, which fills the hard mode's world, with goal and agent."""
    draws = LevelDraws(scene.level, "maze")
    scene.grid[...] = np.where(largest_maze(draws), EMPTY, WALL)
    scene.game[0] = LARGEST
    place = scene.places[scene.agent]
    place[[X, Y]] = 0.5
    x, y = drawn_cell(scene, draws)
    scene.grid[y, x] = GOAL


def largest_maze(draws: LevelDraws) -> np.ndarray:
    """Return [25, 25] bool, the free cells of a random maze without circles.

    Walls between the cells of even numbers fall in random order, where that joins what was not
    joined: Kruskal's algorithm, as the game's own mazes are made.
    """
    free = np.zeros((LARGEST, LARGEST), bool)
    free[::2, ::2] = True
    evens = range(0, LARGEST, 2)
    walls = [(x + 1, y, 1, 0) for y in evens for x in evens[:-1]]
    walls += [(x, y + 1, 0, 1) for y in evens[:-1] for x in evens]
    group = {(x, y): (x, y) for x in evens for y in evens}

    def root(cell: Cell) -> Cell:
        while group[cell] != cell:
            group[cell] = group[group[cell]]
            cell = group[cell]
        return cell

    for number in draws.some_of(list(range(len(walls))), len(walls)):
        x, y, right, up = walls[number]
        one, other = root((x - right, y - up)), root((x + right, y + up))
        if one != other:
            group[one] = other
            free[y, x] = True
    return free
