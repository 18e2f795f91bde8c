"""What is shown of an episode: every picture once, the last one held, nothing of the next."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ppo_mpi.agent import Agent
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.base import Discrete, ObservationSpec, StepResult, VecEnvs
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.drawing import PAPER
from ppo_mpi.modes.playback import (
    Player,
    View,
    advance,
    agent_picture,
    newest_frame,
    signals_unwind,
)
from ppo_mpi.modes.record import output_paths, picture
from ppo_mpi.seeding import generator, stream_seed
from ppo_mpi.settings.record import RecordConfig


class ClockEnvs(VecEnvs):
    """One environment that shows its step as the brightness of the picture.

    An episode lasts 2 to 5 steps, by the seed it was assigned; the reward is the action.
    """

    obs_spec = ObservationSpec((2, 2, 3), "uint8")
    action_spec = Discrete(4)
    indices = (0,)

    def __init__(self) -> None:
        self.assigned = 0
        self.reset()

    def reset(self) -> np.ndarray:
        self.seed, self.clock = self.assigned, 0
        self.length = 2 + self.seed % 4
        return self.observe()

    def observe(self) -> np.ndarray:
        return np.full((1, 2, 2, 3), self.clock, np.uint8)

    def step(self, actions: np.ndarray) -> StepResult:
        levels = self.levels
        self.clock += 1
        ended = self.clock == self.length
        if ended:
            self.reset()
        flags = np.array([ended])
        rewards = actions.astype(np.float32)
        return StepResult(self.observe(), rewards, flags, np.array([False]), {}, levels)

    def assign(self, slot: int, seed: int, level: int | None) -> None:
        self.assigned = seed

    @property
    def levels(self) -> np.ndarray:
        return np.array([self.seed % 1000])

    def get_states(self) -> list[bytes | None]:
        return [None]

    def check_states(self, states: Sequence[bytes | None]) -> None:
        pass

    def set_states(self, states: Sequence[bytes | None], iteration: int = 0) -> list[int]:
        return [0]

    def render(self) -> list[np.ndarray]:
        return [np.full((4, 4, 3), 10 * self.clock, np.uint8)]

    def close(self) -> None:
        pass


class DiceAgent:
    """Acts by its noise alone."""

    run_name = "clock"
    run_dir = Path("checkpoints/clock")
    assets_in = Agent.assets_in
    timesteps = 7
    config = TrainConfig()

    def make_envs(self, num: int, seed: int, *, stream: str, levels: str, render: bool) -> VecEnvs:
        assert num == 1
        assert render
        return ClockEnvs()

    def no_memory(self, num: int) -> np.ndarray:
        return np.zeros((num, 0), np.float32)

    def act(self, obs: np.ndarray, noise: np.ndarray | None, memory: np.ndarray) -> SimpleNamespace:
        actions = (
            np.ones(len(obs), np.int64) if noise is None else (4 * noise[:, 0]).astype(np.int64)
        )
        values = np.zeros(len(obs), np.float32)
        return SimpleNamespace(actions=actions, memory=memory, values=values, probabilities=None)

    def assign(self, envs: VecEnvs, slot: int, episode: int, levels: str, seed: int) -> None:
        envs.assign(slot, stream_seed(seed, "episode", episode), None)

    def noise_block(self, seed: int, index: int, steps: int) -> np.ndarray:
        return generator(seed, "dice", index).random((steps, 1))


def make_player(episodes: Sequence[int], hold_steps: int = 3) -> Player:
    return Player(
        DiceAgent(), iter(episodes), seed=5, levels="train", hold_steps=hold_steps
    )  # fmt: skip


def watch_all(players: list[Player], greedy: bool = True) -> list[list[View]]:
    views = []
    while not all(player.finished for player in players):
        views.append([player.view for player in players])
        advance(DiceAgent(), players, greedy=greedy)
    return views


def test_every_picture_is_shown_once_and_the_last_one_is_held_with_the_final_return():
    views = [view for (view,) in watch_all([make_player([0, 1])])]
    for episode in (0, 1):
        shown = [view for view in views if view.episode == episode]
        length = shown[-1].num_steps
        assert 2 <= length <= 5
        assert [int(v.frame[0, 0, 0]) // 10 for v in shown] == [*range(length)] + [length - 1] * 3
        assert [v.episode_return for v in shown] == [*range(length)] + [length] * 3
        assert [v.ended for v in shown] == [False] * length + [True] * 3
        assert len({v.level for v in shown}) == 1


def test_an_episode_is_the_same_in_whatever_place_of_a_grid_it_is_played():
    alone = {}
    for (view,) in watch_all([make_player([*range(6)])], greedy=False):
        alone[view.episode] = view.episode_return, view.num_steps, view.level
    together = {}
    players = [make_player([0, 3]), make_player([1, 4]), make_player([2, 5])]
    for views in watch_all(players, greedy=False):
        for view in views:
            together[view.episode] = view.episode_return, view.num_steps, view.level
    assert together == alone
    assert len(set(alone.values())) > 1


def test_a_finished_player_stands_still_while_the_others_go_on():
    players = [make_player([0]), make_player([*range(1, 5)])]
    views = watch_all(players)
    done = next(n for n, (first, _) in enumerate(views) if first.ended)
    assert all(first is views[done][0] for first, _ in views[done:])
    assert len(views) > done + 10


def test_random_numbers_do_not_depend_on_how_many_are_drawn_at_once():
    player = make_player([9])
    first = [player.noise()]
    for _ in range(3):
        player._view = View(**(vars(player.view) | {"num_steps": player.view.num_steps + 299}))
        first.append(player.noise())
    whole = DiceAgent().noise_block(5, 9, 1000)
    np.testing.assert_array_equal(np.stack(first), whole[[0, 299, 598, 897]])


def test_skip_goes_to_the_next_episode_at_once_and_ends_after_the_last():
    player = make_player([0, 1])
    advance(DiceAgent(), [player], greedy=True)
    player.skip()
    assert (player.view.episode, player.view.num_steps, player.view.ended) == (1, 0, False)
    length_of_1 = [v for (v,) in watch_all([make_player([1])])][-1].num_steps
    rest = [view for (view,) in watch_all([player])]
    assert rest[-1].num_steps == length_of_1


def test_skip_during_the_held_picture_begins_the_next_episode_once():
    player = make_player([0, 1, 2])
    while not player.view.ended:
        advance(DiceAgent(), [player], greedy=True)
    player.skip()
    assert (player.view.episode, player.view.num_steps) == (1, 0)
    last = make_player([0])
    while not last.view.ended:
        advance(DiceAgent(), [last], greedy=True)
    last.skip()
    assert last.finished


def test_a_persons_action_replaces_the_agents():
    player = make_player([0])
    advance(DiceAgent(), [player], greedy=True, human_action=3)
    assert player.view.episode_return == 3.0


def a_view(obs: np.ndarray, level: int = 12) -> View:
    return View(np.full((4, 6, 3), 9, np.uint8), obs, level, 0, 2.5, 30, False)


def test_a_caption_says_the_level_where_there_is_one_and_the_step_elsewhere():
    assert a_view(np.zeros(3)).fields() == ("return 2.5", "level 12")
    assert a_view(np.zeros(3), level=-1).fields() == ("return 2.5", "step 30")


def test_what_the_agent_sees_stands_beside_the_human_view_at_the_same_height():
    view = a_view(np.full((2, 2, 3), 77, np.uint8))
    both = picture(view, RecordConfig(agent_view=True))
    assert both.shape == (4, 10, 3)
    assert (both[:, :6] == 9).all()
    assert (both[:, 6:] == 77).all()


def test_size_is_the_height_of_a_picture_without_its_caption():
    view = a_view(np.zeros((2, 2, 3), np.uint8))
    assert picture(view, RecordConfig(size=100)).shape == (100, 150, 3)
    captioned = picture(view, RecordConfig(size=100, caption=True))
    assert captioned.shape[1] == 150
    assert captioned.shape[0] > 100
    assert (captioned[-1] == PAPER).all()


@pytest.mark.parametrize(
    ("env", "grayscale", "channels"),
    [
        ("atari:Pong", True, [11]),
        ("atari:Pong", False, [9, 10, 11]),
        ("coinrun", True, list(range(12))),
    ],
)
def test_of_ataris_stacked_frames_the_newest_is_seen(
    env: str, grayscale: bool, channels: list[int]
) -> None:
    config = with_values(TrainConfig(), {"env": env, "grayscale": grayscale})
    stack = np.broadcast_to(np.arange(12, dtype=np.uint8), (2, 2, 12))
    agent = SimpleNamespace(config=config)
    assert newest_frame(agent, stack)[0, 0].tolist() == channels
    three = stack[:, :, :3]  # as many as colors
    expected = [2] if channels == [11] else [0, 1, 2]
    assert newest_frame(agent, three)[0, 0].tolist() == expected
    vector = np.zeros(5)
    assert newest_frame(agent, vector) is vector


def test_an_agent_that_sees_no_picture_has_no_agent_view():
    with pytest.raises(ConfigError, match=r"no picture \(shape \(4,\)\); leave out --agent-view"):
        agent_picture(a_view(np.zeros(4, np.float32)))


def test_videos_go_to_the_runs_folder_unless_told_otherwise(tmp_path):
    agent, here = DiceAgent(), str(tmp_path)
    (first,) = output_paths(agent, RecordConfig(asset_dir=here))
    assert first == (tmp_path / "clock" / "clock-7.mp4", "mp4")
    both = output_paths(agent, RecordConfig(output=here, format="both"))
    assert both == [(tmp_path / "clock-7.mp4", "mp4"), (tmp_path / "clock-7.gif", "gif")]
    (tmp_path / "clock-7.mp4").touch()
    ((again, _),) = output_paths(agent, RecordConfig(output=here))
    assert again == tmp_path / "clock-7-2.mp4"
    named = str(tmp_path / "a.GIF")
    assert output_paths(agent, RecordConfig(output=named, format="gif"))[0][1] == "gif"
    with pytest.raises(ConfigError, match="contradict each other; use --format gif"):
        output_paths(agent, RecordConfig(output=named))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_unwind_the_block_and_are_as_before_behind_it(number):
    before = signal.getsignal(number)

    def be_signaled() -> None:
        with signals_unwind():
            os.kill(os.getpid(), number)
            for _ in range(10**6):  # the handler runs within a few instructions
                pass

    with pytest.raises(KeyboardInterrupt):
        be_signaled()
    assert signal.getsignal(number) is before
