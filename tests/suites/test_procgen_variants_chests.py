"""Keys and chests: what lies where, what it brings, and how a level ends."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

pytest.importorskip("procgen")

from benchmarks.procgen_players import chest_action, scenes
from ppo_mpi.envs import chest_variants
from ppo_mpi.envs.chest_levels import EMPTY, chest_places, key_places, ways_from
from ppo_mpi.envs.procgen import make_envs
from ppo_mpi.envs.procgen_scene import Scene

MANY_CHESTS, MANY_KEYS = "heist_aisc_many_chests", "heist_aisc_many_keys"


def make(name: str, num: int, **options: Any) -> Any:
    return make_envs(name, range(num), 3, options=options)


def levels_of(name: str, rounds: int, num: int = 32, **options: Any) -> list[Scene]:
    envs = make(name, num, **options)
    found = []
    for _ in range(rounds):
        envs.reset()
        found += scenes(envs)
    return found


@pytest.mark.parametrize(
    ("mode", "most", "mean"), [("easy", 4, 2.5), ("hard", 6, 3.5), ("memory", 4, 2.5)]
)
@pytest.mark.parametrize("name", [MANY_CHESTS, MANY_KEYS])
def test_there_are_twice_as_many_of_one_as_of_the_other(
    name: str, mode: str, most: int, mean: float
) -> None:
    fewer = []
    for scene in levels_of(name, 8, distribution_mode=mode):
        keys, chests = len(key_places(scene)), len(chest_places(scene))
        assert (chests == 2 * keys) if name == MANY_CHESTS else (keys == 2 * chests)
        fewer.append(min(keys, chests))
    assert set(fewer) == set(range(1, most + 1))
    assert abs(np.mean(fewer) - mean) < 4 * np.std(fewer) / np.sqrt(len(fewer))


def test_things_lie_in_cells_of_their_own_with_more_than_one_way() -> None:
    own = levels_of("heist", 4, distribution_mode="hard")
    agents = Counter[bool]()
    for before, scene in zip(own, levels_of(MANY_CHESTS, 4, distribution_mode="hard"), strict=True):
        np.testing.assert_array_equal(before.grid, scene.grid)
        free = scene.grid == EMPTY
        ways = ways_from(free)
        cells = [(int(x), int(y)) for p in (key_places, chest_places) for x, y in p(scene)]
        assert len(set(cells)) == len(cells)
        for x, y in cells:
            assert free[y, x]
            assert ways[y, x] > 1
        x, y = scene.agent_cell()
        assert free[y, x]
        assert (x, y) not in cells
        agents[ways[y, x] == 1] += 1
    assert min(agents.values()) > 5  # it may begin in a dead end


def next_actions(envs: Any, rng: np.random.Generator) -> np.ndarray:
    """Return [B] int64, towards chests and keys, but for one in ten."""
    held, num = envs._rules._held, len(envs.indices)
    wise = [chest_action(scene, held[slot]) for slot, scene in enumerate(scenes(envs))]
    return np.where(rng.random(num) < 0.1, rng.integers(15, size=num), wise)


def finish(
    envs: Any, episodes: int
) -> tuple[list[tuple[float, int, dict[str, float]]], np.ndarray]:
    """Play on to chests and keys; return (return, length, facts) of episodes, and rewards."""
    envs.reset()
    rng = np.random.default_rng(0)
    num = len(envs.indices)
    returns, lengths = np.zeros(num), np.zeros(num, int)
    done: list[tuple[float, int, dict[str, float]]] = []
    rewards = []
    while len(done) < episodes:
        result = envs.step(next_actions(envs, rng))
        rewards.append(result.rewards.copy())
        returns += result.rewards
        lengths += 1
        for slot in np.flatnonzero(result.terminated):
            done.append((returns[slot], lengths[slot], dict(result.episode_facts[slot])))
            returns[slot] = lengths[slot] = 0
    return done, np.array(rewards)


@pytest.mark.parametrize("name", [MANY_CHESTS, MANY_KEYS])
def test_who_finishes_a_level_gets_one_for_each_chest_less_the_penalties(name: str) -> None:
    done, rewards = finish(make(name, 12, key_penalty=3, step_penalty=2), 40)
    for episode_return, length, told in done:
        assert told["level_complete"] == 1
        keys, opened = told["keys_taken"], told["chests_opened"]
        assert keys >= opened >= 1
        assert told["keys_after_useless"] == keys - opened
        assert told["steps_to_last_chest"] == length
        assert episode_return == pytest.approx(opened - 0.3 * keys - 0.002 * length, abs=1e-3)
    if name == MANY_CHESTS:  # there are no more keys than are needed
        assert all(told["keys_after_useless"] == 0 for _, _, told in done)
    else:
        assert any(told["keys_after_useless"] > 0 for _, _, told in done)
    assert rewards.min() < -0.29


def test_without_penalties_the_return_is_the_lesser_number() -> None:
    envs = make(MANY_CHESTS, 8)
    envs.reset()
    needed = envs._rules._needed.copy()
    rng, first = np.random.default_rng(0), {}
    returns = np.zeros(8)
    for _ in range(400):
        actions = next_actions(envs, rng)
        result = envs.step(actions)
        returns += result.rewards
        for slot in np.flatnonzero(result.terminated):
            first.setdefault(slot, returns[slot])
    assert first == {slot: needed[slot] for slot in range(8)}


@pytest.mark.parametrize("name", [MANY_CHESTS, MANY_KEYS])
def test_looking_when_it_is_due_sees_what_looking_at_every_step_sees(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"key_penalty": 3, "distribution_mode": "hard"}
    done, rewards = finish(make(name, 12, **options), 30)
    monkeypatch.setattr(chest_variants, "SPEED", 1e9)
    all_done, always = finish(make(name, 12, **options), 30)
    np.testing.assert_array_equal(rewards, always)
    assert done == all_done


def test_a_completed_level_is_followed_by_the_streams_next() -> None:
    plain, envs = make("heist", 6), make(MANY_CHESTS, 6)
    streams = []
    for _ in range(6):
        plain.reset()
        streams.append(plain.levels)
    envs.reset()
    rng, met = np.random.default_rng(0), [[int(level)] for level in envs.levels]
    for _ in range(900):
        before = envs.levels
        actions = next_actions(envs, rng)
        result = envs.step(actions)
        np.testing.assert_array_equal(result.levels, before)
        for slot in np.flatnonzero(result.terminated):
            met[slot].append(int(envs.levels[slot]))
        if min(map(len, met)) >= 4:
            break
    for slot in range(6):
        own = [int(levels[slot]) for levels in streams][: len(met[slot])]
        assert met[slot][: len(own)] == own
        assert len(own) >= 4


def test_states_saved_in_the_midst_of_levels_go_on_exactly() -> None:
    envs = make(MANY_KEYS, 8, key_penalty=3)
    envs.reset()
    states: list[bytes] = []
    rng = np.random.default_rng(0)
    script: list[np.ndarray] = []
    results = []
    for step in range(160):
        if step == 25:
            states = envs.get_states()
            assert envs._rules._taken.sum() > 3
        actions = next_actions(envs, rng)
        result = envs.step(actions)
        if step >= 25:
            script.append(actions)
            results.append(result)
    other = make(MANY_KEYS, 8, key_penalty=3)
    other.reset()
    order = [3, 1, 0, 2, 7, 6, 5, 4]  # into other slots
    assert other.set_states([states[slot] for slot in order]) == []
    ends = 0
    for actions, before in zip(script, results, strict=True):
        after = other.step(actions[order])
        np.testing.assert_array_equal(after.obs, before.obs[order])
        np.testing.assert_array_equal(after.rewards, before.rewards[order])
        np.testing.assert_array_equal(after.terminated, before.terminated[order])
        own = {order.index(slot): told for slot, told in before.episode_facts.items()}
        assert own == dict(after.episode_facts)
        ends += len(own)
    assert ends > 4


def test_held_keys_are_drawn_in_the_upper_right() -> None:
    envs = make(MANY_KEYS, 1, num_levels=1, start_level=5)
    shown = envs.reset()[0]
    while not envs._rules._held[0]:
        (scene,) = scenes(envs)
        result = envs.step(np.array([chest_action(scene, 0)]))
    strip = (slice(0, 3), slice(58, 64))
    assert not np.array_equal(result.obs[0][strip], shown[strip])
    green = result.obs[0][strip].astype(int)
    assert (green[..., 1] > green[..., 0] + 20).any()
