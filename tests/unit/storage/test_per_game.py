"""Curves of each game: which game an episode was, means by hand, saved and restored."""

from __future__ import annotations

import json

import pytest

from ppo_mpi.storage.curves import EpisodeRecord
from ppo_mpi.storage.per_game import GameCurves


def score(game: str, mean: float) -> float | None:
    return {"coinrun": (mean - 5) / 5, "maze": (mean - 4) / 6}.get(game)


def episode(env: int, episode_return: float, split: str = "train") -> EpisodeRecord:
    return EpisodeRecord(1, split, env, 0, episode_return, 10)  # type: ignore[arg-type]


def curves(**games: list[str]) -> GameCurves:
    return GameCurves(games, 3, score)


def test_environment_i_plays_the_game_i_modulo_their_number() -> None:
    found = curves(train=["coinrun", "maze", "coinrun"], test=["maze"])
    assert [found.game_of(episode(i, 0)) for i in range(6)] == ["coinrun", "maze", "coinrun"] * 2
    assert found.game_of(episode(5, 0, "test")) == "maze"


def test_columns_are_means_of_the_last_episodes_and_scores_by_hand() -> None:
    found = curves(train=["coinrun", "maze"], test=["maze"])
    before = found.columns()
    assert before["return_of_maze"] is before["score_of_maze"] is before["mean_score"] is None
    for env, value in ((0, 0.0), (0, 10.0), (0, 10.0), (0, 4.0), (2, 10.0)):
        found.add(episode(env, value))
    assert found.columns()["mean_score"] is None  # of maze nothing is known yet
    found.add(episode(1, 7.0))
    found.add(episode(0, 3.0, "test"))  # one game: no columns of its own
    row = found.columns()
    assert row["return_of_coinrun"] == pytest.approx((10 + 4 + 10) / 3)
    assert (row["episodes_of_coinrun"], row["episodes_of_maze"]) == (5, 1)
    assert row["score_of_coinrun"] == pytest.approx((8 - 5) / 5)
    assert row["score_of_maze"] == pytest.approx(0.5)
    assert row["mean_score"] == pytest.approx((0.6 + 0.5) / 2)
    assert not any(name.startswith("test_") for name in row)


def test_a_game_without_a_published_range_leaves_no_mean_score() -> None:
    found = curves(test=["coinrun", "maze_aisc"])
    found.add(episode(0, 5.0, "test"))
    found.add(episode(1, 5.0, "test"))
    row = found.columns()
    assert (row["test_score_of_coinrun"], row["test_score_of_maze_aisc"]) == (0.0, None)
    assert row["test_mean_score"] is None


def test_it_goes_on_from_what_it_saved() -> None:
    one, other = curves(train=["coinrun", "maze"]), curves(train=["coinrun", "maze"])
    for number in range(7):
        one.add(episode(number, number))
    other.add(episode(0, 99.0))
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert other.columns() == one.columns()
    for found in (one, other):
        found.add(episode(1, 100.0))
    assert other.columns() == one.columns()
