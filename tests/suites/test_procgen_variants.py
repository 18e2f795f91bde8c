"""Variants of Procgen's games: what holds for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("procgen")

from benchmarks.procgen_players import coinrun_actions
from ppo_mpi.envs import procgen_saved, procgen_state
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.procgen import make_envs
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.registry import split_env_name
from ppo_mpi.settings.variant_names import PLAIN_NAMES, VARIANT_GAMES

HARD = {"distribution_mode": "hard"}
# Each rule at least once; for the ends there are levels that end by chance.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("coinrun", {"random_percent": 40}),
    ("coinrun_aisc", {}),
    ("coinrun_mod_wall", {"random_percent": 50, "continue_after_coin": True}),
    ("maze_aisc", {"rand_region": 3}),
    ("maze_redgem_yellowstar", {}),
    ("maze_fixed_size", HARD),
    ("heist_aisc_many_chests", {"key_penalty": 3, "step_penalty": 1}),
    ("heist_aisc_many_keys", {"key_penalty": 1}),
]


def make(name: str, indices: list[int], seed: int = 3, **options: Any) -> Any:
    stream = options.pop("stream", "train")
    return make_envs(name, indices, seed, stream=stream, options=options)


def some_actions(num_steps: int, num_envs: int, seed: int = 0) -> np.ndarray:
    """Return [T, B] int64 that go all ways, in turns that last."""
    rng = np.random.default_rng(seed)
    ways = np.repeat(rng.integers(9, size=(num_steps // 4 + 1, num_envs)), 4, axis=0)[:num_steps]
    onward = np.stack([coinrun_actions(rng, num_envs) for _ in range(num_steps)])
    return np.where(rng.random(num_envs) < 0.5, ways, onward)


def assert_same(whole: StepResult, part: StepResult, columns: list[int]) -> None:
    for name in ("obs", "rewards", "terminated", "truncated", "levels"):
        np.testing.assert_array_equal(getattr(whole, name)[columns], getattr(part, name))
    own = {
        columns.index(slot): told for slot, told in whole.episode_facts.items() if slot in columns
    }
    assert own == dict(part.episode_facts)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_one_vector_of_five_is_vectors_of_two_and_three(name: str, options: dict[str, Any]) -> None:
    whole = make(name, [0, 1, 2, 3, 4], **options)
    parts: dict[tuple[int, ...], VecEnvs] = {
        (4, 1): make(name, [4, 1], **options),
        (0, 2, 3): make(name, [0, 2, 3], num_threads=2, **options),
    }
    first = whole.reset()
    for indices, part in parts.items():
        np.testing.assert_array_equal(first[list(indices)], part.reset())
    num_ends = 0
    for actions in some_actions(520, 5):
        result = whole.step(actions)
        num_ends += int(result.terminated.sum())
        for indices, part in parts.items():
            assert_same(result, part.step(actions[list(indices)]), list(indices))
    assert num_ends >= (0 if name.startswith("heist") else 1)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_replaying_from_saved_states_is_bit_equal(name: str, options: dict[str, Any]) -> None:
    envs = make(name, [0, 1, 2, 3], num_levels=30, **options)
    envs.reset()
    for actions in some_actions(45, 4):
        envs.step(actions)
    states, shown = envs.get_states(), envs.observe()
    actions = some_actions(520, 4, seed=2)
    first = [envs.step(row) for row in actions]
    fresh = make(name, [0, 1, 2, 3], seed=99, num_levels=30, **options)
    for again in (envs, fresh):
        assert again.set_states(states) == []
        np.testing.assert_array_equal(again.observe(), shown)
        assert again.get_states() == states
        for before, row in zip(first, actions, strict=True):
            assert_same(before, again.step(row), [0, 1, 2, 3])


@pytest.mark.parametrize(("name", "options"), CASES)
def test_an_assigned_level_is_changed_as_it_always_is(name: str, options: dict[str, Any]) -> None:
    only = make(name, [7], num_levels=1, start_level=123, **options)
    envs = make(name, [0, 1], seed=8, **options)
    before = make(name, [0, 1], seed=8, **options)
    envs.assign(1, 0, 123)
    shown = envs.reset()
    np.testing.assert_array_equal(shown[1], only.reset()[0])
    assert envs.levels[1] == 123
    np.testing.assert_array_equal(shown[0], before.reset()[0])


def test_every_variant_has_pictures_of_its_own_and_several_share_a_process() -> None:
    shown: dict[str, np.ndarray] = {}
    for name in (*VARIANT_GAMES, "maze", "coinrun", "heist"):
        sprites = ("faithful", "large") if "yellow" in name else ("faithful",)
        for look in sprites:
            envs = make(name, [0, 1, 2, 3, 4, 5], sprites=look, **HARD)
            shown[f"{name} {look}"] = envs.reset()
    # Levels without a changed coin look like the game's own until the end comes into view.
    same = {"coinrun faithful", "coinrun_mod_wall faithful"}
    different = {name: obs.tobytes() for name, obs in shown.items() if name not in same}
    assert len(set(different.values())) == len(different)
    again = make("maze", [0, 1, 2, 3, 4, 5], **HARD)
    np.testing.assert_array_equal(again.reset(), shown["maze faithful"])


def test_all_names_are_known_and_plain_ones_stand_for_the_published_ones() -> None:
    for name in VARIANT_GAMES:
        assert split_env_name(name) == split_env_name(f"procgen:{name}") == ("procgen", name)
    for plain, name in PLAIN_NAMES.items():
        assert split_env_name(plain) == ("procgen", name)
    assert set(PLAIN_NAMES.values()) == set(VARIANT_GAMES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("maze_fixed_size", {}, "maze_fixed_size has no distribution_mode=easy; take"),
        ("coinrun_aisc", {"distribution_mode": "memory"}, "coinrun has no distribution_mode=mem"),
        (
            "maze_aisc",
            {"distribution_mode": "exploration"},
            "distribution_mode=easy or hard or memory",
        ),
        ("maze_aisc", {"use_sequential_levels": True}, "use_sequential_levels=true: the levels of"),
        ("coinrun_aisc", {"use_generated_assets": True}, "use_generated_assets=true: the levels"),
        ("coinrun", {"random_percent": 1, "use_sequential_levels": True}, "of coinrun cannot be"),
        ("coinrun", {"random_percent": 101}, "random_percent=101 is out of range; use 0 to 100"),
        ("maze_aisc", {"rand_region": -1}, "rand_region=-1 is too small; use 0 or more"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(name, [0], **options)
    assert message in str(caught.value)


def test_a_state_of_another_variant_is_refused() -> None:
    states = {}
    for name in ("coinrun_aisc", "coinrun_mod_wall", "coinrun"):
        envs = make(name, [0])
        envs.reset()
        states[name] = envs.get_states()
    for name, other in (
        ("coinrun_aisc", "coinrun_mod_wall"),
        ("coinrun_mod_wall", "coinrun"),
        ("coinrun", "coinrun_aisc"),
    ):
        with pytest.raises(CheckpointError, match="environment 0 is damaged: it "):
            make(name, [0]).set_states(states[other])


@pytest.mark.parametrize("name", ["coinrun_aisc", "maze_aisc", "heist_aisc_many_keys"])
def test_a_tampered_record_is_refused(name: str) -> None:
    envs = make(name, [0])
    envs.reset()
    state = bytearray(procgen_state.unseal(envs.get_states()[0]))
    size = procgen_state.WORD * (envs._rules.record_size + 1)
    state[-size : -size + 4] = (2**30).to_bytes(4, "little")
    with pytest.raises(CheckpointError, match="has the record"):
        envs.set_states([procgen_state.seal(bytes(state))])


@pytest.mark.parametrize("game", ["coinrun", "maze", "heist"])
def test_a_library_with_another_layout_is_found_out(
    game: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = procgen_saved.check_scene

    def with_one_number_more(state: bytes, name: str) -> None:
        real(state[:-4] + bytes(4) + state[-4:], name)

    monkeypatch.setattr(procgen_saved, "check_scene", with_one_number_more)
    with pytest.raises(ConfigError, match="keeps its states in another way .*numbers of .* alone"):
        make(f"{game}_aisc" if game != "heist" else "heist_aisc_many_keys", [0])


def test_nothing_is_changed_or_told_in_a_game_that_is_not() -> None:
    """Training on the plain games goes the way that it always did."""
    for name in ("coinrun", "maze", "heist", "bigfish"):
        assert make(name, [0])._rules is None
    watched = make("maze", [0], stream="evaluate")
    unwatched = make("maze", [0], stream="evaluate", use_sequential_levels=True)
    assert watched._rules is not None
    assert unwatched._rules is None


@pytest.mark.parametrize(
    ("game", "limit"), [("maze", 500), ("leaper", 500), ("coinrun", 1000), ("heist", 1000)]
)
def test_a_game_tells_that_time_ran_out(game: str, limit: int) -> None:
    envs = make(game, [0, 1])
    envs.reset()
    facts: list[tuple[int, dict[str, float]]] = []
    for step in range(1, limit + 1):
        if step == limit // 2:
            envs.set_states(envs.get_states())  # the time is part of a state
        facts += [(step, dict(told)) for told in envs.step(np.full(2, 4)).episode_facts.values()]
    assert (limit, {"level_complete": 0.0, "timed_out": 1.0, "died": 0.0}) in facts


def test_a_game_tells_of_deaths_and_completed_levels() -> None:
    envs = make("coinrun", list(range(16)))
    envs.reset()
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        result = envs.step(coinrun_actions(rng, 16))
        for slot, told in result.episode_facts.items():
            assert told["level_complete"] == (result.rewards[slot] == 10)
            assert sum(told.values()) == 1
            seen.add(max(told, key=lambda name: told[name]))
        assert set(result.episode_facts) == set(np.flatnonzero(result.terminated))
    assert seen == {"level_complete", "died"}
