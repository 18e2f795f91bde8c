"""Procgen on a list of levels: no other one, by environment and episode alone, and restored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("procgen")

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.errors import CheckpointError
from ppo_mpi.suites import make_envs

LISTED = (3, 17, 1_000_000, 17)


def make(indices: Sequence[int], env: str = "fruitbot", held_out: bool = False) -> VecEnvs:
    config = with_values(TrainConfig(), {"env": env, "level_seeds": LISTED})
    return make_envs(config, indices, 5, "train", held_out)


def levels_of(envs: VecEnvs, steps: int, seed: int = 0) -> list[tuple[int, int, int]]:
    """Return (step, environment, level) of the episodes that end within some steps."""
    found = []
    for step in range(steps):
        # The same actions for an environment, wherever it lives.
        actions = [(seed + step * step + 7 * i) % 9 for i in envs.indices]
        result = envs.step(np.array(actions))
        ended = np.flatnonzero(result.terminated | result.truncated).tolist()
        found += [(step, envs.indices[slot], int(result.levels[slot])) for slot in ended]
    return found


def test_all_levels_are_of_the_list_each_as_often_as_it_stands_there() -> None:
    envs = make(range(4))
    counts: Counter[int] = Counter()
    for _ in range(100):
        envs.reset()
        counts.update(envs.levels.tolist())
    assert set(counts) == set(LISTED)
    # 400 draws with shares 1/4, 1/2, 1/4: five deviations are 50 and 43.
    assert abs(counts[17] - 200) < 50
    assert abs(counts[3] - 100) < 43


def test_the_levels_of_an_environment_do_not_depend_on_the_others() -> None:
    whole, parts = make(range(4)), [make([0]), make([1, 2, 3])]
    whole.reset()
    for part in parts:
        part.reset()
    together = levels_of(whole, 300)
    assert sorted(together) == sorted(levels_of(parts[0], 300) + levels_of(parts[1], 300))
    assert len(together) > 8
    assert {level for _, _, level in together} == set(LISTED)
    assert len({tuple(k for _, i, k in together if i == env) for env in range(4)}) > 1


def test_restored_environments_go_on_with_the_same_levels() -> None:
    one, other = make(range(3)), make(range(3))
    one.reset()
    levels_of(one, 120)
    other.reset()
    levels_of(other, 50, seed=1)
    assert other.set_states(one.get_states(), 4) == []
    np.testing.assert_array_equal(other.observe(), one.observe())
    assert levels_of(other, 250, seed=2) == levels_of(one, 250, seed=2)


def test_a_lost_state_begins_on_the_list_and_by_the_iteration() -> None:
    begun = []
    for iteration in range(12):
        envs = make(range(2))
        assert envs.set_states([None, None], iteration) == [0, 1]
        begun.append(tuple(envs.levels.tolist()))
        assert set(begun[-1]) <= set(LISTED)
    assert len(set(begun)) > 1


def test_a_state_without_a_count_is_refused() -> None:
    envs = make(range(1))
    envs.reset()
    with pytest.raises(CheckpointError, match="has no count of the levels"):
        envs.set_states([b"short"])
    with pytest.raises(CheckpointError, match="2 saved environments do not fit 1 slots"):
        envs.set_states([None, None])


def test_an_assigned_level_is_played_once_even_if_it_is_not_listed() -> None:
    envs = make(range(2))
    envs.assign(0, 1, 12345)
    envs.reset()
    assert envs.levels[0] == 12345
    assert envs.levels[1] in LISTED
    envs.reset()
    assert set(envs.levels.tolist()) <= set(LISTED)
    for seed in range(5):
        envs.assign(1, seed, None)
        envs.reset()
        assert envs.levels[1] in LISTED


def test_held_out_environments_are_on_all_levels() -> None:
    envs = make(range(4), held_out=True)
    envs.reset()
    assert not set(envs.levels.tolist()) & set(LISTED)


def test_several_games_have_the_list_in_each() -> None:
    envs = make(range(4), "fruitbot,starpilot")
    envs.reset()
    assert set(envs.levels.tolist()) <= set(LISTED)
