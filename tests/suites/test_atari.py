"""Atari: every option against a plain version, streams by environment, exact states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("ale_py")
pytest.importorskip("cv2")

from plain_atari import PlainGame

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.atari import AtariEnvs
from ppo_mpi.envs.atari_options import resolve
from ppo_mpi.envs.base import Discrete, StepResult, VecEnvs
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.learning.episodes import EpisodeTracker
from ppo_mpi.registry import split_env_name
from ppo_mpi.seeding import stream_seed
from ppo_mpi.settings.atari_names import GAMES
from ppo_mpi.suites import make_envs

SEED = 3


def config_of(env: str, **settings: Any) -> TrainConfig:
    return with_values(TrainConfig(), {"env": env, **settings})


def make(env: str, indices: Any = range(2), stream: str = "train", **settings: Any) -> AtariEnvs:
    threads = settings.pop("engine_threads", 0)
    envs = make_envs(config_of(env, **settings), tuple(indices), SEED, stream, render=True,
                     engine_threads=threads)  # fmt: skip
    assert isinstance(envs, AtariEnvs)
    return envs


def actions(envs: VecEnvs, steps: int, seed: int = 0) -> np.ndarray:
    assert isinstance(envs.action_spec, Discrete)
    random = np.random.default_rng(seed)
    # An action is kept for some steps, so that games are played and not only shaken.
    chosen = random.integers(envs.action_spec.num_actions, size=(steps // 3 + 1, len(envs.indices)))
    return np.repeat(chosen, 3, axis=0)[:steps]


def recorded(envs: VecEnvs, chosen: np.ndarray) -> list[StepResult]:
    return [envs.step(row) for row in chosen]


def assert_equal(one: list[StepResult], other: list[StepResult], slots: Any = slice(None)) -> None:
    for a, b in zip(one, other, strict=True):
        for name in ("obs", "rewards", "terminated", "truncated", "life_lost"):
            np.testing.assert_array_equal(getattr(a, name)[slots], getattr(b, name), name)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("atari:Breakout", {}),
    ("atari:Seaquest", {}),
    ("atari:MsPacman", {}),  # has no FIRE
    ("atari:Pong", {"frame_skip": 1}),
    ("atari:Pong", {"frame_skip": 3, "max_over_frames": False}),
    ("Breakout-v4", {}),
    ("ALE/Breakout-v5", {}),
    ("atari:SpaceInvaders", {"max_over_frames": False}),
    ("atari:SpaceInvaders", {"frame_skip": 2, "sticky_actions": 0.5}),
    ("atari:MsPacman", {"grayscale": False}),
    ("atari:Breakout", {"grayscale": False, "frame_stack": 1}),
    ("atari:Breakout", {"frame_stack": 1}),
    ("atari:Breakout", {"frame_stack": 6, "screen_size": 64}),
    ("atari:MsPacman", {"noop_max": 0}),
    ("atari:Breakout", {"fire_on_reset": False}),
    ("atari:Breakout", {"life_loss_ends": False}),
    ("atari:Breakout", {"full_action_space": True}),
    ("atari:Seaquest", {"max_episode_frames": 350}),
    ("Breakout-ram-v4", {}),
    ("atari:Seaquest", {"atari_obs": "ram", "stack_skipped_frames": True}),
    ("atari:Breakout", {"stack_skipped_frames": True}),
    ("atari:Breakout", {"stack_skipped_frames": True, "frame_stack": 2, "frame_skip": 3}),
]


@pytest.mark.parametrize(("env", "settings"), VARIANTS)
def test_every_option_does_what_the_plain_version_does(env, settings):
    envs = make(env, [5], **settings)
    options = resolve(split_env_name(env)[1], config_of(env, **settings).atari)
    plain = PlainGame(options, stream_seed(SEED, "train:reset", 5))
    tolerance = 1e-6 if options.shows_ram else 1.0  # rounded, as OpenCV does
    plain.reset(first=True)
    np.testing.assert_allclose(envs.reset()[0], plain.obs(), rtol=0, atol=tolerance)
    ends, lives, total = 0, 0, 0.0
    for action in actions(envs, 330)[:, 0]:
        result, expected = envs.step(np.array([action])), plain.step(int(action))
        assert result.rewards[0] == expected.reward
        assert result.terminated[0] == expected.terminated
        assert result.truncated[0] == expected.truncated
        assert result.life_lost is not None
        assert result.life_lost[0] == expected.life_lost
        assert set(result.final_obs) == ({0} if expected.truncated else set())
        if expected.truncated:
            final = result.final_obs[0]
            np.testing.assert_allclose(final, plain.obs(), rtol=0, atol=tolerance)
        assert set(result.last_obs) == ({0} if expected.terminated else set())
        if expected.terminated:
            last = result.last_obs[0]
            np.testing.assert_allclose(last, plain.obs(), rtol=0, atol=tolerance)
        if expected.terminated or expected.truncated:
            plain.reset(first=False)
        np.testing.assert_allclose(result.obs[0], plain.obs(), rtol=0, atol=tolerance)
        ends += expected.terminated or expected.truncated
        lives += expected.life_lost
        total += abs(expected.reward)
    if options.config.fire_on_reset and options.frame_skip != (1, 1):
        assert total > 0, "points were made"
    if env == "atari:Breakout" and options.config.fire_on_reset:
        assert ends > 0
        assert bool(lives) == options.config.life_loss_ends
    if options.config.max_episode_frames < 1000:
        assert ends > 2, "episodes were cut short"


@pytest.mark.parametrize("shown", ["frames", "ram"])
def test_what_an_environment_does_depends_on_its_index_alone(shown):
    settings = {"atari_obs": shown, "sticky_actions": 0.25}
    whole, part = make("atari:Breakout", range(4), **settings), make("atari:Breakout", [2, 3],
                                                                     **settings)  # fmt: skip
    threaded = make("atari:Breakout", range(4), engine_threads=3, **settings)
    first = whole.reset()
    np.testing.assert_array_equal(first[2:], part.reset())
    np.testing.assert_array_equal(first, threaded.reset())
    chosen = actions(whole, 200)
    results = recorded(whole, chosen)
    assert_equal(results, recorded(part, chosen[:, 2:]), slice(2, 4))
    assert_equal(results, recorded(threaded, chosen))
    threaded.close()
    if shown == "frames":  # environments differ in their beginnings
        assert len({obs.tobytes() for obs in first}) > 1
        test = make("atari:Breakout", range(4), "test", **settings)
        assert (test.reset() != first).any()


def test_no_ops_are_1_to_30_and_every_number_comes():
    envs = make("atari:Pong", [0], fire_on_reset=False)
    game = envs._games[0]
    frames = set()
    for episode in range(300):
        game.begin(episode)
        frames.add(game.ale.getEpisodeFrameNumber())
    assert frames == set(range(1, 31))


def test_sticky_actions_repeat_as_often_as_they_should():
    envs = make("atari:Pong", [0], sticky_actions=0.25, frame_skip=1)
    envs.reset()
    game = envs._games[0]
    kept = 0
    for step in range(4000):
        action = game._actions[step % 6]  # which seldom is kept for so long that it comes again
        game._act(action)
        kept += game._held != action
    # 4,000 draws have a deviation of 27.
    assert abs(kept - 1000) < 4 * 27


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        ("ALE/Breakout-v5", {}),
        ("Breakout-v4", {"stack_skipped_frames": True}),
        ("atari:MsPacman", {"grayscale": False, "frame_stack": 2, "max_episode_frames": 700}),
        ("Seaquest-ram-v4", {}),
    ],
)
def test_a_restored_game_goes_on_to_the_bit(env, settings):
    envs = make(env, **settings)
    envs.reset()
    recorded(envs, actions(envs, 150))
    envs.assign(1, 77, None)
    states, shown = envs.get_states(), envs.observe()
    chosen = actions(envs, 400, seed=1)
    expected = recorded(envs, chosen)
    assert any(r.terminated.any() or r.truncated.any() for r in expected), "episodes begin anew"
    other = make(env, [8, 9], **settings)  # of other indices, and in other slots
    other.reset()
    recorded(other, actions(other, 20, seed=2))
    assert other.set_states(states[::-1]) == []
    np.testing.assert_array_equal(other.observe(), shown[::-1])
    for one, two in zip(expected, recorded(other, chosen[:, ::-1]), strict=True):
        np.testing.assert_array_equal(one.obs, two.obs[::-1])
        np.testing.assert_array_equal(one.rewards, two.rewards[::-1])
        np.testing.assert_array_equal(one.terminated, two.terminated[::-1])
    assert envs.get_states() == other.get_states()[::-1]


def test_states_of_other_games_and_settings_are_refused():
    pong, breakout = make("atari:Pong"), make("atari:Breakout")
    pong.reset()
    with pytest.raises(CheckpointError, match="environment 0 is one of the game 'pong', not of 'b"):
        breakout.set_states(pong.get_states())
    with pytest.raises(CheckpointError, match=r"frames \[4, 84, 84\], these environments \[3, 84"):
        make("atari:Pong", frame_stack=3).set_states(pong.get_states())
    with pytest.raises(CheckpointError, match="1 saved environments do not fit 2 slots"):
        pong.set_states([None])


def test_an_emulators_state_that_it_does_not_take_is_refused_before_anything_is_changed():
    from dataclasses import replace

    from ppo_mpi.envs import atari_state

    envs = make("atari:Pong")
    before = envs.reset()
    saved = envs._games[0].save()
    broken = atari_state.pack(replace(saved, emulator=b"\xff" * 7000), "pong", None)
    with pytest.raises(CheckpointError, match="emulator of pong does not go on from the saved"):
        envs.set_states([broken, None])
    np.testing.assert_array_equal(envs.observe(), before)


def test_fresh_episodes_of_a_resumed_run_depend_on_its_iteration():
    starts = []
    for iteration in (1, 2, 1):
        envs = make("atari:Breakout", range(3))
        assert envs.set_states([None] * 3, iteration) == [0, 1, 2]
        starts.append(envs.observe())
    assert (starts[0] != starts[1]).any()
    np.testing.assert_array_equal(starts[0], starts[2])


def test_an_assigned_episode_depends_on_nothing_but_its_seed():
    one, two = make("ALE/Assault-v5", [0]), make("ALE/Assault-v5", [4], "watch")
    one.reset()
    recorded(one, actions(one, 100))  # what the console's memory holds by now
    for envs in (one, two):
        envs.assign(0, 99, None)
    np.testing.assert_array_equal(one.reset(), two.reset())
    chosen = actions(one, 100, seed=5)
    assert_equal(recorded(one, chosen), recorded(two, chosen))


def test_returns_are_those_of_whole_games_though_learning_takes_lives_for_episodes():
    envs = make("atari:Breakout", [0])
    envs.reset()
    tracker = EpisodeTracker([0], "train")
    episodes, lives, total = [], [], 0.0
    totals = []
    for row in actions(envs, 900):
        result = envs.step(row)
        total += float(result.rewards[0])
        assert result.life_lost is not None
        lives += [len(totals)] * int(result.life_lost[0])
        assert not (result.life_lost[0] and result.terminated[0])
        episodes += tracker.add(result, 1)
        if result.terminated[0]:
            totals.append(total)
            total = 0.0
    assert [e.episode_return for e in episodes] == totals
    assert len(totals) >= 3
    for game in range(len(totals)):  # five lives, the last of which ends the game
        assert lives.count(game) == 4
    assert max(totals) > 0


def test_a_life_lost_as_the_time_is_up_is_an_end_to_learning_and_a_cut_to_the_episode():
    yes, no = np.array([True]), np.array([False])
    result = StepResult(yes, yes, no, yes, {}, yes, life_lost=yes)
    assert result.learned_terminated[0]
    assert not result.learned_truncated[0]
    result = StepResult(yes, yes, no, yes, {}, yes)
    assert result.learned_truncated[0]
    assert not result.learned_terminated[0]


def test_the_human_view_is_the_whole_screen_in_color():
    envs = make("atari:Pong")
    envs.reset()
    (frame, _) = envs.render()
    assert frame.shape == (210, 160, 3)
    assert frame.dtype == np.uint8
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 3
    with pytest.raises(AssertionError, match="render=True"):
        make_envs(config_of("atari:Pong"), (0,), 0, "train").render()


def test_all_games_of_the_emulator_have_a_name_and_every_name_a_game():
    from ale_py import roms
    from ale_py.registration import rom_id_to_name

    games = [game for game in roms.get_all_rom_ids()]
    for_two = {"combat", "joust", "maze_craze", "warlords"}
    assert sorted(GAMES) == sorted(set(games) - for_two)
    for game in GAMES:
        assert split_env_name(f"ALE/{rom_id_to_name(game)}-v5") == (
            "atari", f"{rom_id_to_name(game)}-v5"
        )  # fmt: skip


def test_a_rank_without_environments_knows_the_spaces():
    envs = make("atari:Breakout", [])
    assert envs.reset().shape == (0, 84, 84, 4)
    assert envs.step(np.zeros(0, np.int64)).rewards.shape == (0,)
    assert envs.action_spec == Discrete(4)
    assert make("atari:Breakout", [], full_action_space=True).action_spec == Discrete(18)


def test_frames_are_refused_for_a_name_that_says_ram():
    with pytest.raises(ConfigError, match="atari_obs=frames does not fit the environment Pong-ram"):
        make("Pong-ram-v4", atari_obs="frames")
