"""The tables of an evaluation: columns, splits, the gap, and levels that are training levels."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ppo_mpi.agent import Agent
from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.base import StepResult
from ppo_mpi.envs.procgen_layouts import LevelPrint, level_prints, same_levels
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.evaluation_plan import playing_order
from ppo_mpi.modes.evaluation_report import EvaluationResult, overlap_lines, report
from ppo_mpi.modes.evaluation_tables import (
    Overlap,
    PlayedEpisode,
    compare_levels,
    episode_rows,
    generalization_gap,
    level_rows,
    overlap_summary,
    write_table,
)
from ppo_mpi.modes.intervals import welch_interval
from ppo_mpi.modes.playing import ended_episode
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.suites import make_envs

CONFIG = EvaluateConfig(seed=9)


def make_agent(env: str = "maze", **values: object) -> Agent:
    small = {"env": env, "precision": "float32", "channel_multiplier": 0.25, "feature_size": 8}
    config = with_values(TrainConfig(), small | {"num_levels": 200, "seed": 4} | values)
    envs = make_envs(config, range(1), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    envs.close()
    return Agent(config, Path("runs/r"), 1000, model, None, Path("runs/r/step-000000001000"))


def played(*pairs: tuple[int, float]) -> list[PlayedEpisode]:
    return [PlayedEpisode(k, level, value, 10 + k) for k, (level, value) in enumerate(pairs)]


def test_an_episodes_row_tells_where_it_was_played_and_every_fact():
    episodes = [
        PlayedEpisode(0, 3, 10.0, 7, {"level_complete": 1.0}),
        PlayedEpisode(1, 203, 0.0, 500, {"timed_out": 1.0, "level_complete": 0.0}),
        PlayedEpisode(2, 204, 10.0, 9),
    ]
    overlap = Overlap(2, {203: (17, True)})
    rows = episode_rows(make_agent(), CONFIG, episodes, overlap)
    assert rows[1] == {
        "run": "r", "env": "maze", "train_seed": 4, "timesteps": 1000, "split": "test",
        "level": 203, "episode": 1, "policy_seed": 9, "return": 0.0, "length": 500,
        "same_layout_as": 17, "same_picture": True, "level_complete": 0.0, "timed_out": 1.0,
    }  # fmt: skip
    assert [row["split"] for row in rows] == ["train", "test", "test"]
    assert (rows[2]["same_layout_as"], rows[2]["timed_out"]) == (None, None)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}


def test_a_levels_row_averages_its_episodes():
    episodes = played((205, 1.0), (3, 4.0), (205, 3.0))
    episodes[0] = replace(episodes[0], facts={"died": 1.0})
    one, two = level_rows(make_agent(), episodes, None)
    assert (one["level"], one["split"], one["episodes"], one["std_return"]) == (3, "train", 1, None)
    assert (two["mean_return"], two["std_return"]) == (2.0, pytest.approx(2**0.5))
    assert (two["min_return"], two["max_return"], two["mean_length"]) == (1.0, 3.0, 11.0)
    assert (one["mean_died"], two["mean_died"]) == (None, 1.0)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_tables_are_written_and_read_back(tmp_path, ending):
    rows = episode_rows(make_agent(), CONFIG, played((3, 0.5), (300, -2.0)), None)
    path = tmp_path / f"episodes.{ending}"
    write_table(str(path), rows)
    if ending == "jsonl":
        assert [json.loads(line) for line in path.read_text().splitlines()] == rows
        return
    read = [*csv.DictReader(path.open())]
    assert [row["return"] for row in read] == ["0.5", "-2.0"]
    assert [row["same_layout_as"] for row in read] == ["", ""]


def test_facts_of_a_step_become_facts_of_its_episode():
    result = StepResult(
        np.zeros((2, 1)), np.zeros(2), np.array([False, True]), np.zeros(2, bool), {},
        np.array([5, 6]), episode_facts={1: {"died": True}},
    )  # fmt: skip
    assert ended_episode(result, 1, 8, 2.5, 40) == PlayedEpisode(8, 6, 2.5, 40, {"died": 1.0})
    assert ended_episode(result, 0, 8, 2.5, 40).facts == {}


def test_the_gap_is_one_of_levels_not_of_episodes():
    episodes = played((1, 10.0), (1, 8.0), (2, 5.0), (300, 2.0), (301, 4.0), (301, 4.0))
    gap = generalization_gap(make_agent(), episodes, seed=0)
    assert gap is not None
    assert gap["gap"] == (9 + 5) / 2 - 3
    assert (gap["train_levels"], gap["test_levels"]) == (2, 2)
    assert gap["welch_95"] == welch_interval(np.array([9.0, 5.0]), np.array([2.0, 4.0]))
    assert generalization_gap(make_agent(), played((1, 3.0)), seed=0) is None
    assert generalization_gap(make_agent(num_levels=0), played((1, 3.0)), seed=0) is None


def test_known_repetitions_of_easy_mazes_are_found():
    """About a tenth of the held-out easy mazes is one of 200 training mazes."""
    agent = make_agent("maze")
    overlap = compare_levels(agent, played(*((level, 0.0) for level in range(150, 500))))
    assert overlap is not None
    assert overlap.compared == 300
    assert 0.05 < len(overlap.twins) / 300 < 0.2
    assert all(level >= 200 and twin < 200 for level, (twin, _) in overlap.twins.items())
    looks_same = [level for level, (_, same) in overlap.twins.items() if same]
    assert 0 < len(looks_same) < len(overlap.twins)
    # The pictures say so themselves.
    envs = make_envs(agent.config, range(2), 0, "look", held_out=True)
    for level in looks_same:
        envs.assign(0, 0, level)
        envs.assign(1, 0, overlap.twins[level][0])
        one, two = envs.reset()
        assert np.array_equal(one, two)
    envs.close()


def test_levels_of_a_rich_game_do_not_repeat():
    overlap = compare_levels(make_agent("heist"), played(*((k, 0.0) for k in range(200, 260))))
    assert overlap == Overlap(60, {})


def test_a_level_has_one_fingerprint_wherever_it_is_played():
    agent = make_agent("coinrun")
    two, five = (make_envs(agent.config, range(n), n, "x", held_out=True) for n in (2, 5))
    levels = [7, 90, 7, 10**9, 12]
    prints = level_prints(two, levels)
    assert prints == level_prints(five, levels)
    assert prints is not None
    assert prints[0] == prints[2]
    assert len({p.layout for p in prints}) == 4
    two.close()
    five.close()


def test_a_level_that_looks_the_same_is_preferred_and_the_lowest_of_them():
    def make(layout: str, picture: str) -> LevelPrint:
        return LevelPrint(layout.encode(), picture.encode())

    known = {5: make("a", "1"), 3: make("a", "2"), 8: make("a", "2"), 1: make("b", "2")}
    new = {20: make("a", "2"), 21: make("a", "9"), 22: make("c", "1"), 23: make("b", "2")}
    found = same_levels([*new], [*new.values()], [*known], [*known.values()])
    assert found == {20: (3, True), 21: (3, False), 23: (1, True)}


@pytest.mark.parametrize(
    ("env", "values", "reason"),
    [
        ("starpilot", {}, "starpilot draws its levels while they are played"),
        ("heist", {"num_levels": 6000}, "more than 5,000 training levels"),
        ("heist", {"use_generated_assets": True, "num_levels": 3}, "do not show their states"),
    ],
)
def test_what_cannot_be_compared_says_why(env, values, reason):
    overlap = compare_levels(make_agent(env, **values), played((10**6, 0.0)))
    assert overlap is not None
    assert reason in overlap.reason
    assert reason in overlap_lines(overlap_summary([], overlap))[0]


def test_means_are_given_with_and_without_repeated_levels():
    episodes = played((300, 10.0), (301, 0.0), (302, 2.0))
    shared = overlap_summary(episodes, Overlap(3, {300: (4, False)}))
    assert shared["mean_return"] == 4.0
    assert shared["mean_return_without_them"] == 1.0
    assert shared["mean_return_on_them"] == 10.0
    (line,) = overlap_lines(shared)
    assert line == (
        "1 of 3 held-out levels are laid out as a training level (0 look the same as well); "
        "mean return without them 1.000; mean return on them 10.000"
    )


def test_each_level_is_played_as_often_as_asked_for():
    agent = make_agent(num_levels=20)
    config = EvaluateConfig(episodes_per_level=3, episodes=7)
    assert playing_order(agent, "train", config) == ("train", 60)
    assert playing_order(agent, "200-299", config) == ("200-299", 300)
    levels, episodes = playing_order(agent, "test", config)
    assert episodes == 21
    assert len(set(levels.split(","))) == 7
    assert playing_order(agent, "test", EvaluateConfig(episodes=7)) == ("test", 7)
    with pytest.raises(ConfigError, match="episodes_per_level=3: CartPole-v1 has no levels"):
        playing_order(make_agent("CartPole-v1"), "train", config)


def test_tables_of_an_unknown_kind_are_refused():
    with pytest.raises(ConfigError, match=r"level_table=a.xlsx is of no known kind"):
        EvaluateConfig(level_table="a.xlsx").validate(1)


def test_the_report_writes_both_tables_and_tells_gap_and_overlap(tmp_path, capsys):
    agent = make_agent("maze", num_levels=3)
    config = EvaluateConfig(
        json=str(tmp_path / "r.json"), table=str(tmp_path / "e.jsonl"),
        level_table=str(tmp_path / "l.csv"),
    )  # fmt: skip
    train = EvaluationResult("train", played((0, 10.0), (1, 10.0), (2, 0.0)), None)
    test = EvaluationResult("test", played((7, 0.0), (8, 10.0)), None)
    report(agent, config, [train, test])
    text = capsys.readouterr().out
    assert "training minus held-out levels: 1.667; 95 % interval" in text
    assert "of 2 held-out levels are laid out as a training level" in text
    assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 5
    assert len((tmp_path / "l.csv").read_text().splitlines()) == 6
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["generalization_gap"]["gap"] == pytest.approx(10 / 6 * 1.0)
    assert document["overlap"]["held_out_levels"] == 2
