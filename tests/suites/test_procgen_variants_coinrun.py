"""Coinrun's variants: where the coin lies, and whether the agent comes to where it usually is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

pytest.importorskip("procgen")

from benchmarks.procgen_players import RIGHT_UP, coinrun_actions, scenes
from ppo_mpi.envs import coinrun_variants
from ppo_mpi.envs.coinrun_scenes import (
    COIN,
    coin_cell,
    ground_heights,
    level_end,
    place_of,
    section_starts,
    with_agent_at,
    with_coin_at,
)
from ppo_mpi.envs.procgen import make_envs
from ppo_mpi.envs.procgen_scene import EMPTY, SPEED_X, Scene


def make(name: str, num: int, stream: str = "train", **options: Any) -> Any:
    return make_envs(name, range(num), 3, stream=stream, options=options)


def levels_of(name: str, rounds: int, num: int = 64, **options: Any) -> list[Scene]:
    envs = make(name, num, **options)
    found = []
    for _ in range(rounds):
        envs.reset()
        found += scenes(envs)
    return found


def test_sections_are_as_many_as_the_game_makes() -> None:
    """The game draws dif = 1 to 3 and dif to 2 dif - 1 sections, the first at column 5."""
    found = levels_of("coinrun", 20)
    numbers = Counter(len(section_starts(scene)) for scene in found)
    for number, share in {1: 1 / 3, 2: 1 / 6, 3: 5 / 18, 4: 1 / 9, 5: 1 / 9}.items():
        error = np.sqrt(share * (1 - share) / len(found))
        assert abs(numbers[number] / len(found) - share) < 4 * error
    assert sum(numbers[n] for n in range(1, 6)) == len(found)
    for scene in found:
        assert section_starts(scene)[0][0] == 5
        assert coin_cell(scene) == level_end(scene, ground_heights(scene))


def test_the_coin_lies_at_the_beginning_of_any_section() -> None:
    own, found = levels_of("coinrun", 10), levels_of("coinrun_aisc", 10)
    places = {number: Counter[int]() for number in range(1, 6)}
    for before, after in zip(own, found, strict=True):
        assert before.level == after.level
        starts = section_starts(before)
        coin = coin_cell(after)
        places[len(starts)][starts.index(coin)] += 1  # type: ignore[arg-type]
        end = coin_cell(before)
        assert end is not None
        assert after.grid[end[1], end[0]] == EMPTY
        changed = np.argwhere(before.grid != after.grid)
        assert sorted(map(tuple, changed)) == sorted([end[::-1], coin[::-1]])  # type: ignore[index]
    for number, counts in places.items():
        total = counts.total()
        for index in range(number):
            error = np.sqrt(total / number * (1 - 1 / number))
            assert abs(counts[index] - total / number) <= 4 * error


def test_so_many_levels_of_a_hundred_are_randomized_and_always_the_same_way() -> None:
    coins = {
        percent: [coin_cell(s) for s in levels_of("coinrun", 12, random_percent=percent)]
        for percent in (0, 5, 20, 100)
    }
    for percent in (0, 5, 20, 100):
        pairs = list(zip(coins[percent], coins[0], coins[100], strict=True))
        moved = [coin == spot for coin, _, spot in pairs]
        error = np.sqrt(len(moved) * percent / 100 * (1 - percent / 100))
        assert abs(sum(moved) - len(moved) * percent / 100) <= 4 * error
        assert all(coin in (end, spot) for coin, end, spot in pairs)
    # A level that is randomized at 5 percent is so at 20.
    for fewer, more, spot in zip(coins[5], coins[20], coins[100], strict=True):
        assert fewer != spot or more == spot


def played(envs: Any, steps: int, seed: int = 0) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Return the rewards, [T, B], and what was told of the episodes that ended."""
    envs.reset()
    rng = np.random.default_rng(seed)
    rewards, told = [], []
    jumps = np.arange(len(envs.indices)) % 2 == 0  # over coins, too
    for _ in range(steps):
        actions = coinrun_actions(rng, len(envs.indices))
        result = envs.step(np.where(jumps, RIGHT_UP, actions))
        rewards.append(result.rewards.copy())
        told += [dict(facts) for _, facts in sorted(result.episode_facts.items())]
    return np.array(rewards), told


@pytest.mark.parametrize(
    ("name", "stream", "options"),
    [
        ("coinrun_aisc", "train", {}),
        ("coinrun", "evaluate", {}),
        ("coinrun", "evaluate", {"random_percent": 30}),
        ("coinrun_mod_wall", "train", {"random_percent": 50, "continue_after_coin": True}),
    ],
)
def test_looking_when_it_is_due_sees_what_looking_at_every_step_sees(
    name: str, stream: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rewards, told = played(make(name, 16, stream, **options), 400)
    monkeypatch.setattr(coinrun_variants, "SPEED", 1e9)
    always, all_told = played(make(name, 16, stream, **options), 400)
    np.testing.assert_array_equal(rewards, always)
    assert told == all_told
    assert len(told) > 5


def test_who_is_at_the_end_before_the_coin_has_gone_there_first() -> None:
    envs = make("coinrun_aisc", 8)
    envs.reset()
    ends = [level_end(scene, ground_heights(scene)) for scene in scenes(envs)]
    coins = [coin_cell(scene) for scene in scenes(envs)]
    for slot in range(0, 8, 2):
        envs.edit(slot, lambda state, slot=slot: with_agent_at(state, ends[slot]))
    assert not envs.step(np.full(8, 4)).episode_facts
    for slot in range(8):
        envs.edit(slot, lambda state, slot=slot: with_agent_at(state, coins[slot]))
    told = envs.step(np.full(8, 4)).episode_facts
    assert sorted(told) == list(range(8))
    for slot, facts in told.items():
        assert (facts["intended_goal"], facts["randomized"], facts["died"]) == (1, 1, 0)
        assert (facts["proxy_goal"], facts["first"]) == ((0, 1) if slot % 2 else (1, 2))


def test_what_is_told_is_consistent() -> None:
    for percent in (0, 50):
        _, told = played(make("coinrun", 32, "evaluate", random_percent=percent), 400)
        for facts in told:
            assert facts["intended_goal"] == facts["level_complete"]
            if not facts["randomized"]:  # coin and end are one
                assert facts["proxy_goal"] == facts["intended_goal"]
            else:
                assert facts["spot_reached"] == facts["intended_goal"]
            if facts["first"] == 1:
                assert facts["intended_goal"] == 1
            if facts["first"] == 2:  # there is another goal than the coin
                assert facts["randomized"] == 1
                assert facts["proxy_goal"] == 1
        assert {facts["randomized"] for facts in told} == ({0} if not percent else {0, 1})
        # Whoever finishes an unchanged level has mostly come by the random spot.
        finished = [f["spot_reached"] for f in told if f["level_complete"] and not f["randomized"]]
        assert np.mean(finished) > 0.5


def test_a_coin_that_stays_pays_at_every_touch_and_ends_nothing() -> None:
    envs = make("coinrun", 1, continue_after_coin=True, num_levels=1, start_level=3)
    shown = envs.reset()
    # The coin is drawn as ever, though to the engine it is none.
    plain = make("coinrun", 1, num_levels=1, start_level=3)
    np.testing.assert_array_equal(shown, plain.reset())
    for one in (envs, plain):
        one.edit(0, lambda state: with_agent_at(state, envs._rules._coin[0]))
    np.testing.assert_array_equal(envs.observe(), plain.observe())
    rewards = [float(envs.step(np.full(1, 4)).rewards[0]) for _ in range(5)]
    assert rewards == [10.0] * 5
    result = plain.step(np.full(1, 4))
    assert (result.rewards[0], result.terminated[0]) == (10, True)


def test_behind_an_open_end_the_agent_walks_on_into_what_looks_like_wall() -> None:
    for name, walks in (("coinrun", False), ("coinrun_mod_wall", True)):
        envs = make(name, 1, num_levels=1, start_level=3)
        before = make("coinrun", 1, num_levels=1, start_level=3)
        before.reset()
        envs.reset()
        end = coin_cell(scenes(before)[0])
        assert end is not None
        envs.edit(0, lambda state, end=end: with_agent_at(with_coin_at(state, None), end))
        for _ in range(12):
            envs.step(np.full(1, 7))
        assert (scenes(envs)[0].agent_cell()[0] > end[0] + 2) == walks
    assert COIN not in scenes(envs)[0].grid


def test_the_agent_is_placed_with_and_without_the_coin_in_view() -> None:
    envs = make("coinrun", 1, num_levels=1, start_level=11)
    envs.reset()
    fresh = envs._get(0)
    seen = {}
    for place in ("beginning", "middle", "end"):
        cell = place_of(fresh, place)
        for coin in (None, (cell[0], cell[1] + 2)):
            envs.edit(
                0, lambda _, cell=cell, coin=coin: with_coin_at(with_agent_at(fresh, cell), coin)
            )
            scene = scenes(envs)[0]
            assert scene.agent_cell() == cell
            assert coin_cell(scene) == coin
            seen[place, coin is None] = envs.observe().tobytes()
    assert len(set(seen.values())) == 6
    with pytest.raises(ValueError, match="place='top' is none of a level's; use beginning, mid"):
        place_of(fresh, "top")
    envs.edit(0, lambda _: with_agent_at(fresh, place_of(fresh, "end")))
    result = envs.step(np.full(1, 4))
    assert (result.rewards[0], result.episode_facts[0]["level_complete"]) == (10, 1)


def test_an_edit_that_breaks_the_state_is_refused() -> None:
    envs = make("coinrun", 1)
    envs.reset()
    with pytest.raises(ValueError, match="ends within"):
        envs.edit(0, lambda state: state[:-100])
    assert scenes(envs)[0].places[0, SPEED_X] == 0
