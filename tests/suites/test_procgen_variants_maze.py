"""The maze's variants: where goals lie, and where the agent has been."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

pytest.importorskip("procgen")

from benchmarks.procgen_players import maze_action, scenes
from ppo_mpi.envs.level_draws import LevelDraws
from ppo_mpi.envs.maze_variants import (
    GOAL,
    LARGEST,
    SECOND,
    WALL,
    Cell,
    corner,
    find,
    largest_maze,
)
from ppo_mpi.envs.procgen import make_envs
from ppo_mpi.envs.procgen_scene import Scene


def make(name: str, num: int, stream: str = "train", **options: Any) -> Any:
    return make_envs(name, range(num), 3, stream=stream, options=options)


def levels_of(name: str, rounds: int, num: int = 32, **options: Any) -> list[Scene]:
    envs = make(name, num, **options)
    found = []
    for _ in range(rounds):
        envs.reset()
        found += scenes(envs)
    return found


def walls(scene: Scene) -> np.ndarray:
    return scene.grid == WALL


@pytest.mark.parametrize("mode", ["easy", "hard", "memory"])
def test_the_cheese_lies_in_the_corner_of_the_games_own_mazes(mode: str) -> None:
    own, changed = (levels_of(name, 2, distribution_mode=mode) for name in ("maze", "maze_aisc"))
    for before, after in zip(own, changed, strict=True):
        assert before.level == after.level
        np.testing.assert_array_equal(walls(before), walls(after))
        assert (after.grid == GOAL).sum() == 1
        assert find(after, GOAL) == corner(after)
        assert not walls(after)[corner(after)[::-1]]
        assert before.agent_cell() == after.agent_cell()


def in_maze(scene: Scene, cell: Cell) -> Cell:
    margin = (scene.grid.shape[0] - int(scene.game[0])) // 2
    return cell[0] - margin, cell[1] - margin


def test_the_cheese_lies_anywhere_in_the_region_but_where_the_agent_begins() -> None:
    region, shares = 3, Counter[int]()
    found = levels_of("maze_aisc", 20, rand_region=region, distribution_mode="hard")
    expected = 0.0
    for scene in found:
        size = int(scene.game[0])
        x, y = in_maze(scene, find(scene, GOAL))  # type: ignore[arg-type]
        assert min(x, y) >= size - region
        assert (x, y) != (0, 0)
        shares[(x, y) == (size - 1, size - 1)] += 1
        margin = (scene.grid.shape[0] - size) // 2
        square = ~walls(scene)[margin : margin + size, margin : margin + size]
        free = int(square[-region:, -region:].sum()) - (size == region)
        expected += 1 / free
    # As often in the corner as chance has it, within four standard errors.
    assert abs(shares[True] - expected) < 4 * np.sqrt(expected)


def test_a_region_larger_than_the_maze_is_the_whole_maze() -> None:
    places = {in_maze(s, find(s, GOAL)) for s in levels_of("maze_aisc", 6, rand_region=99)}  # type: ignore[arg-type]
    assert len(places) > 40
    assert (0, 0) not in places


def test_the_second_object_lies_on_any_free_cell_but_the_goals_and_the_agents() -> None:
    found = levels_of("maze_redgem_yellowstar", 12)
    quarters = Counter[tuple[bool, bool]]()
    for scene in found:
        assert (scene.grid == SECOND).sum() == (scene.grid == GOAL).sum() == 1
        place = find(scene, SECOND)
        assert place is not None
        assert place != scene.agent_cell()
        x, y = in_maze(scene, place)
        half = int(scene.game[0]) / 2
        quarters[x < half, y < half] += 1
    assert min(quarters.values()) > len(found) * 0.15
    own = levels_of("maze", 12)
    for before, after in zip(own, found, strict=True):  # the goal stays where the game has it
        assert find(before, GOAL) == find(after, GOAL)


def test_the_largest_mazes_are_like_the_games_own_of_that_size() -> None:
    def dead_ends(free: np.ndarray) -> int:
        around = np.pad(free, 1).astype(int)
        ways = around[2:, 1:-1] + around[:-2, 1:-1] + around[1:-1, 2:] + around[1:-1, :-2]
        return int((free & (ways == 1)).sum())

    own = [s for s in levels_of("maze", 30, distribution_mode="hard") if s.game[0] == LARGEST]
    made = levels_of("maze_fixed_size", 3, distribution_mode="hard")
    assert len({walls(s).tobytes() for s in made}) == len(made)
    for scene in made:
        free = ~walls(scene)
        nodes, doors = int(free[::2, ::2].sum()), int(free.sum())
        assert nodes == 13 * 13
        assert doors == 2 * nodes - 1  # everything is joined, and nothing twice
        assert scene.agent_cell() == (0, 0)
        assert scene.game[0] == LARGEST
        maze_action(scene)  # finds a way
    means = [np.mean([dead_ends(~walls(s)) for s in group]) for group in (own, made)]
    assert abs(means[0] - means[1]) < 3


def test_a_maze_is_drawn_by_its_level_alone() -> None:
    one, again, other = (largest_maze(LevelDraws(level, "maze")) for level in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("mode", ["easy", "memory"])
def test_the_agent_is_where_it_is_followed_to(mode: str) -> None:
    envs = make("maze_redgem_yellowstar", 6, distribution_mode=mode)
    envs.reset()
    rng = np.random.default_rng(1)
    for _ in range(540):
        envs.step(rng.integers(15, size=6))
        for slot, scene in enumerate(scenes(envs)):
            assert envs._rules._agent[slot] == envs._rules._number(scene.agent_cell())


def play(envs: Any, goals: Any, episodes: int) -> list[tuple[float, dict[str, float]]]:
    """Walk to the cells that ``goals`` gives for a level, in turn; return rewards and facts."""
    envs.reset()
    left = [list(goals(scene)) for scene in scenes(envs)]
    told: list[tuple[float, dict[str, float]]] = []
    while len(told) < episodes:
        actions = []
        for slot, scene in enumerate(scenes(envs)):
            if left[slot][0] == scene.agent_cell():
                left[slot].pop(0)
            actions.append(maze_action(scene, left[slot][0]))
        result = envs.step(np.array(actions))
        for slot in np.flatnonzero(result.terminated):
            told.append((float(result.rewards[slot]), dict(result.episode_facts[slot])))
            left[slot] = list(goals(Scene(envs._get(slot))))
    return told


COMPLETE = {"level_complete": 1.0, "timed_out": 0.0, "died": 0.0, "intended_goal": 1.0}


def test_who_goes_by_the_second_object_first_is_told_so() -> None:
    envs = make("maze_redgem_yellowstar", 4)
    for reward, told in play(envs, lambda s: [find(s, SECOND), find(s, GOAL)], 12):
        # Unless the goal lies on the way there.
        assert reward == 10
        first = told.pop("first")
        assert told == {**COMPLETE, "proxy_goal": float(first == 2)}
    told_all = play(envs, lambda s: [find(s, SECOND), find(s, GOAL)], 12)
    assert sum(told["first"] == 2 for _, told in told_all) >= 6


def test_cheese_in_the_corner_is_both_goals_and_the_intended_one_counts() -> None:
    for reward, told in play(make("maze_aisc", 4), lambda s: [find(s, GOAL)], 12):
        assert reward == 10
        assert told == {**COMPLETE, "proxy_goal": 1.0, "first": 1.0}


def test_the_plain_maze_tells_of_the_corner_in_evaluations() -> None:
    told_all = play(make("maze", 4, "evaluate"), lambda s: [corner(s), find(s, GOAL)], 20)
    for _, told in told_all:
        assert told["intended_goal"] == 1
        assert told["first"] == (2 if told["proxy_goal"] and told["first"] == 2 else 1)
    assert sum(told["first"] == 2 for _, told in told_all) >= 5


def test_an_agent_that_stays_at_the_corner_has_gone_for_the_other_goal() -> None:
    envs = make("maze", 2, "evaluate", num_levels=1, start_level=4)
    envs.reset()
    first = scenes(envs)[0]
    assert find(first, GOAL) != corner(first)
    told: list[dict[str, float]] = []
    while not told:
        actions = [maze_action(scene, corner(scene)) for scene in scenes(envs)]
        told += [dict(facts) for facts in envs.step(np.array(actions)).episode_facts.values()]
    assert told[0]["timed_out"] == told[0]["proxy_goal"] == 1
    assert (told[0]["intended_goal"], told[0]["first"]) == (0, 2)


def test_draws_are_even_and_keyed_by_purpose() -> None:
    draws = [LevelDraws(level, "goal").below(7) for level in range(7000)]
    counts = np.bincount(draws, minlength=7)
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(1000)
    others = [LevelDraws(level, "coin").below(7) for level in range(7000)]
    assert abs(np.mean(np.array(draws) == others) - 1 / 7) < 0.02
    assert sorted(LevelDraws(1, "x").some_of(list(range(9)), 9)) == list(range(9))
