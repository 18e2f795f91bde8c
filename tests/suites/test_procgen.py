"""Procgen through its engine: streams by environment, assigned levels, exact states."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("procgen")

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.procgen import make_envs
from ppo_mpi.errors import CheckpointError
from ppo_mpi.registry import PROCGEN_GAMES
from ppo_mpi.seeding import generator, stream_seed


def make(game: str, indices: list[int], seed: int = 3, **options: Any) -> VecEnvs:
    stream = options.pop("stream", "train")
    render = options.pop("render", False)
    return make_envs(game, indices, seed, stream=stream, render=render, options=options)


def random_actions(num_steps: int, num_envs: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    actions = rng.integers(15, size=(num_steps, num_envs))
    # Mostly to the right and up, which comes to an end sooner in most games.
    return np.where(rng.random(actions.shape) < 0.5, rng.integers(7, 9, actions.shape), actions)


def assert_same(whole: StepResult, part: StepResult, columns: list[int]) -> None:
    for name in ("obs", "rewards", "terminated", "truncated", "levels"):
        np.testing.assert_array_equal(getattr(whole, name)[columns], getattr(part, name))


def play(envs: VecEnvs, actions: np.ndarray) -> list[StepResult]:
    return [envs.step(row) for row in actions]


@pytest.mark.parametrize(
    ("game", "num_steps", "options"),
    [
        ("coinrun", 400, {}),
        ("starpilot", 400, {"distribution_mode": "hard"}),
        ("maze", 1100, {"num_levels": 5, "start_level": 100}),
        ("fruitbot", 300, {"use_sequential_levels": True}),
        ("coinrun", 300, {"use_generated_assets": True}),
    ],
)
def test_one_vector_of_six_is_vectors_of_two_and_four(
    game: str, num_steps: int, options: dict[str, Any]
) -> None:
    whole = make(game, [0, 1, 2, 3, 4, 5], **options)
    parts = {
        (4, 1): make(game, [4, 1], **options),
        (0, 2, 3, 5): make(game, [0, 2, 3, 5], **options),
    }
    first = whole.reset()
    for indices, part in parts.items():
        np.testing.assert_array_equal(first[list(indices)], part.reset())
    num_ends = 0
    for step, actions in enumerate(random_actions(num_steps, 6)):
        if step == num_steps // 2:
            first = whole.reset()
            for indices, part in parts.items():
                np.testing.assert_array_equal(first[list(indices)], part.reset())
        result = whole.step(actions)
        num_ends += int(result.terminated.sum())
        for indices, part in parts.items():
            assert_same(result, part.step(actions[list(indices)]), list(indices))
    assert num_ends >= 2


@pytest.mark.parametrize("game", PROCGEN_GAMES)
def test_every_game_steps_and_restores_exactly_in_another_slot(game: str) -> None:
    envs = make(game, [0, 1, 2])
    assert envs.reset().shape == (3, 64, 64, 3)
    play(envs, random_actions(40, 3))
    states, shown, levels = envs.get_states(), envs.observe(), envs.levels
    other = make(game, [9, 8], seed=77)
    other.reset()
    play(other, random_actions(7, 2))
    assert other.set_states([states[2], states[1]]) == []
    np.testing.assert_array_equal(other.observe(), shown[[2, 1]])
    np.testing.assert_array_equal(other.levels, levels[[2, 1]])
    for actions in random_actions(120, 3, seed=1):
        assert_same(envs.step(actions), other.step(actions[[2, 1]]), [2, 1])
    assert other.get_states() != states[1:]


@pytest.mark.parametrize("game", ["coinrun", "starpilot", "maze", "bigfish"])
def test_replaying_from_saved_states_is_bit_equal_over_episode_ends(game: str) -> None:
    envs = make(game, [0, 1, 2, 3], num_levels=20)
    envs.reset()
    play(envs, random_actions(30, 4))
    states = envs.get_states()
    actions = random_actions(550, 4, seed=2)
    first = play(envs, actions)
    assert sum(result.terminated.sum() for result in first) >= 3
    fresh = make(game, [0, 1, 2, 3], seed=99, num_levels=20)
    for again in (envs, fresh):
        assert again.set_states(states) == []
        for before, row in zip(first, actions, strict=True):
            assert_same(before, again.step(row), [0, 1, 2, 3])


def test_the_first_levels_come_from_the_environments_streams() -> None:
    envs = make("bigfish", [5, 0])
    envs.reset()
    for slot, index in enumerate((5, 0)):
        seed = stream_seed(3, "train:levels", index)
        stream = np.random.RandomState(seed)
        words = [int(stream.randint(2**32, dtype=np.uint32)) for _ in range(2)]
        assert envs.levels[slot] == words[0] % (2**31 - 1)
    envs.reset()
    assert envs.levels[1] == words[1] % (2**31 - 1)


def test_streams_of_other_purposes_and_seeds_have_other_levels() -> None:
    levels = []
    for stream, seed in (("train", 3), ("test", 3), ("train", 4)):
        envs = make("maze", [0, 1], seed=seed, stream=stream)
        envs.reset()
        levels += envs.levels.tolist()
    assert len(set(levels)) == 6


def test_levels_stay_within_the_restricted_set() -> None:
    envs = make("bigfish", [0, 1, 2, 3], num_levels=3, start_level=40)
    seen = set()
    for _ in range(12):
        envs.reset()
        seen |= set(envs.levels.tolist())
    assert seen == {40, 41, 42}


def first_picture(game: str, level: int, **options: Any) -> np.ndarray:
    alone = make(game, [0], seed=0, num_levels=1, start_level=level, **options)
    return alone.reset()[0]


GENERATED = {"use_generated_assets": True}


@pytest.mark.parametrize(
    ("game", "options"), [("coinrun", {}), ("starpilot", {}), ("heist", {}), ("coinrun", GENERATED)]
)
def test_assigned_levels_are_played_at_reset_and_the_stream_goes_on(
    game: str, options: dict[str, Any]
) -> None:
    envs = make(game, [0, 1], **options)
    envs.assign(1, seed=0, level=12345)
    obs = envs.reset()
    assert envs.levels[1] == 12345
    assert envs.levels[0] != 12345
    np.testing.assert_array_equal(obs[1], first_picture(game, 12345, **options))
    envs.reset()
    assert 12345 not in envs.levels


@pytest.mark.parametrize("options", [{}, GENERATED])
def test_levels_assigned_after_an_episode_began_are_those_of_the_next(
    options: dict[str, Any],
) -> None:
    """As an evaluation does: the following level is assigned right after an episode began."""
    envs = make("starpilot", [0, 1], **options)
    queue, played = list(range(500, 520)), []
    for slot in (0, 1):
        envs.assign(slot, 0, queue.pop(0))
    envs.reset()
    playing = envs.levels.tolist()
    following = [queue.pop(0), queue.pop(0)]
    for slot in (0, 1):
        envs.assign(slot, 0, following[slot])
    for actions in random_actions(1500, 2):
        before = envs.observe()
        result = envs.step(actions)
        assert result.levels.tolist() == playing
        for slot in np.flatnonzero(result.terminated):
            played.append(playing[slot])
            playing[slot], following[slot] = following[slot], queue.pop(0)
            np.testing.assert_array_equal(
                result.obs[slot], first_picture("starpilot", playing[slot], **options)
            )
            envs.assign(slot, 0, following[slot])
            np.testing.assert_array_equal(envs.observe(), result.obs)
        if len(played) >= 6:
            break
    assert len(set(played)) == len(played) >= 6
    assert not np.array_equal(before, result.obs)


def test_after_an_assigned_episode_the_own_levels_follow_also_over_a_save() -> None:
    envs, restored = make("starpilot", [0], num_levels=4), make("starpilot", [7], num_levels=4)
    envs.reset()
    envs.assign(0, seed=0, level=777)
    restored.set_states(envs.get_states())
    for vector in (envs, restored):
        levels = [int(vector.step(actions).levels[0]) for actions in random_actions(1200, 1)]
        changes = [levels[0]] + [b for a, b in zip(levels, levels[1:], strict=False) if a != b]
        assert changes[1] == 777
        assert len(changes) > 2
        assert set(changes) - {777} <= {0, 1, 2, 3}


def test_a_level_that_is_not_given_is_drawn_from_the_seed() -> None:
    everything, few = make("maze", [0]), make("maze", [3], num_levels=10, start_level=50)
    for seed in range(5):
        everything.assign(0, seed, None)
        everything.reset()
        assert everything.levels[0] == generator(seed, "level").integers(2**31 - 1)
        few.assign(0, seed, None)
        few.reset()
        assert few.levels[0] == generator(seed, "level").integers(50, 60)


def test_a_forced_reset_that_completes_a_sequential_level_still_ends_the_episode() -> None:
    """In a step that completes a level anyhow, the engine goes on to the next one instead."""
    envs = make("coinrun", list(range(8)), use_sequential_levels=True)
    envs.reset()
    for actions in random_actions(600, 8):
        states, levels = envs.get_states(), envs.levels
        result = envs.step(actions)
        completed = np.flatnonzero((envs.levels != levels) & ~result.terminated)
        if completed.size:
            break
    slot = int(completed[0])
    envs.set_states(states)
    nothing = envs.step(np.full(8, 4))
    assert not nothing.terminated[slot]
    assert envs.levels[slot] == levels[slot] + 997

    others = [other for other in range(8) if other != slot]
    undisturbed = make("coinrun", others, use_sequential_levels=True)
    undisturbed.set_states([states[other] for other in others])
    envs.set_states(states)
    envs.assign(slot, seed=0, level=31)
    obs = envs.reset()
    assert envs.levels[slot] == 31
    np.testing.assert_array_equal(obs[others], undisturbed.reset())


def test_no_environments_are_stepped_without_an_engine() -> None:
    for options in ({}, GENERATED):
        envs = make("coinrun", [], **options)
        assert envs.reset().shape == (0, 64, 64, 3)
        result = envs.step(np.zeros(0, np.int64))
        assert result.obs.shape == (0, 64, 64, 3)
        assert result.rewards.shape == result.terminated.shape == result.levels.shape == (0,)
        assert envs.get_states() == []
        assert envs.set_states([]) == []
        envs.close()


def test_observations_that_were_handed_out_do_not_change() -> None:
    envs = make("bigfish", [0, 1])
    first = envs.reset()
    kept = first.copy()
    results = play(envs, random_actions(5, 2))
    copies = [result.obs.copy() for result in results]
    play(envs, random_actions(5, 2))
    np.testing.assert_array_equal(first, kept)
    for result, copy in zip(results, copies, strict=True):
        np.testing.assert_array_equal(result.obs, copy)


def test_an_engine_can_be_collected_while_the_librarys_lock_is_held() -> None:
    """As it happens when the collector runs within the making of another engine."""
    engine = make("coinrun", [0])._slots.engine  # type: ignore[attr-defined]
    with engine._ffi._lock:
        closing = threading.Thread(target=engine.close, daemon=True)
        closing.start()
        closing.join(timeout=20)
        assert not closing.is_alive()


@pytest.mark.parametrize("options", [{}, GENERATED])
def test_frames_are_the_human_view_and_change_nothing(options: dict[str, Any]) -> None:
    seen, unseen = (
        make("coinrun", [0, 1], render=True, **options),
        make("coinrun", [0, 1], **options),
    )
    np.testing.assert_array_equal(seen.reset(), unseen.reset())
    for actions in random_actions(20, 2):
        frames = seen.render()
        assert_same(seen.step(actions), unseen.step(actions), [0, 1])
    assert [(frame.shape, frame.dtype) for frame in frames] == [((512, 512, 3), np.uint8)] * 2
    assert not np.array_equal(frames[0], frames[1])


def test_the_states_of_generated_assets_are_none_and_begin_fresh_episodes() -> None:
    envs = make("coinrun", [0, 1], **GENERATED)
    envs.reset()
    before = envs.levels
    states = envs.get_states()
    assert states == [None, None]
    assert envs.set_states(states) == [0, 1]
    assert not np.array_equal(envs.levels, before)
    with pytest.raises(CheckpointError, match="use_generated_assets, whose states are never saved"):
        envs.set_states([b"x", None])


def test_a_missing_state_begins_a_fresh_episode_in_its_slot_alone() -> None:
    envs, other = make("bigfish", [0, 1, 2]), make("bigfish", [0, 1, 2])
    envs.reset()
    other.reset()
    play(envs, random_actions(20, 3))
    states = envs.get_states()
    play(envs, random_actions(20, 3))
    assert envs.set_states([states[0], None, states[2]]) == [1]
    other.set_states(states)
    assert envs.levels[1] != other.levels[1]
    for actions in random_actions(30, 3):
        result, expected = envs.step(actions), other.step(actions)
        np.testing.assert_array_equal(result.obs[[0, 2]], expected.obs[[0, 2]])


def test_exploration_is_one_level() -> None:
    for options in ({}, GENERATED):
        envs = make("maze", [0, 1], distribution_mode="exploration", **options)
        envs.reset()
        assert envs.levels.tolist() == [158988835] * 2
        envs.assign(0, seed=5, level=None)
        envs.reset()
        assert envs.levels.tolist() == [158988835] * 2
