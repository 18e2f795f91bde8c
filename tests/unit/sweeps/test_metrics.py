"""What a run brought: read from its curve and from its evaluation."""

from __future__ import annotations

import json

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError
from ppo_mpi.sweeps.metrics import (
    EVALUATION,
    Metric,
    check_metric,
    read_column,
    require_column,
    timesteps_reached,
    value_at,
)

CURVE = """\
iteration,timesteps,mean_return,eval_mean_return
1,100,,
2,200,1.0,
3,300,5.0,7.0
4,400,3.0,nan
5,500,4.0,
6,6"""  # the last row is just being written


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "progress.csv").write_text(CURVE)
    return tmp_path


def test_a_column_is_read_where_it_is_set(folder):
    assert read_column(folder, "mean_return") == [(200, 1.0), (300, 5.0), (400, 3.0), (500, 4.0)]
    assert read_column(folder, "eval_mean_return") == [(300, 7.0)]
    assert read_column(folder / "nothing", "mean_return") == []
    with pytest.raises(ConfigError, match="unknown column of progress.csv 'mean_retrun'; did you"):
        read_column(folder, "mean_retrun")


def test_a_column_is_looked_for_in_the_first_line_alone(folder):
    require_column(folder, "mean_return")
    require_column(folder / "nothing", "mean_retrun")  # not begun
    with (folder / "progress.csv").open("ab") as file:
        file.truncate(4)
        require_column(folder, "mean_retrun")  # the line is just being written
        file.write(b"\n\xff")
    with pytest.raises(ConfigError, match="unknown column of progress.csv 'mean_retrun'"):
        require_column(folder, "mean_retrun")


def test_a_curve_is_one_number_in_four_ways(folder):
    def of(**options: object) -> float | None:
        return Metric(column="mean_return", **options).of_run(folder)

    assert of() == 4.0
    assert of(over="max") == 5.0
    assert of(over="min") == 1.0
    assert of(over="mean", last=2) == 3.5
    assert of(over="mean", last=99) == (1 + 5 + 3 + 4) / 4
    assert Metric(column="mean_return").of_run(folder / "nothing") is None


def test_the_value_at_a_place_does_not_know_what_came_later(folder):
    assert [value_at(folder, "mean_return", at) for at in (100, 200, 399, 10_000)] == [
        None, 1.0, 5.0, 4.0,
    ]  # fmt: skip


def test_the_timesteps_so_far_are_those_of_the_last_whole_row(folder):
    assert timesteps_reached(folder) == 500
    assert timesteps_reached(folder / "nothing") == 0
    path = folder / "progress.csv"
    path.write_text("iteration,timesteps\n")
    assert timesteps_reached(folder) == 0
    path.write_text("iteration,timesteps\n" + "".join(f"{k},{k * 8}\n" for k in range(5000)))
    assert timesteps_reached(folder) == 4999 * 8


def test_an_evaluation_of_several_games_counts_each_game_once(tmp_path):
    metric = Metric(levels="test", episodes=7, greedy=True)
    (evaluation,) = metric.evaluations()
    config = parse_command(["evaluate", "--run", "x", *evaluation.words]).config
    assert (config.levels, config.episodes, config.greedy) == ("test", 7, True)
    assert metric.of_run(tmp_path) is None

    def document(value: float | None) -> dict:
        return {"levels": {"held-out": {"mean_return": value}}}

    path = tmp_path / EVALUATION
    path.write_text(json.dumps(document(3.0)))
    assert metric.of_run(tmp_path) == 3.0
    path.write_text(json.dumps({"games": {"a": document(3.0), "b": document(5.0)}}))
    assert metric.of_run(tmp_path) == 4.0
    for broken in ("{", "{}", json.dumps(document(None)), json.dumps(document(float("nan")))):
        path.write_text(broken)
        assert metric.of_run(tmp_path) is None


@pytest.mark.parametrize(
    ("column", "words", "message"),
    [
        ("eval_mean_return", [], "stays empty with eval_every=0"),
        ("eval_mean_return", ["--eval-every", "9"], "eval_every=9 is more than the 8 iterations"),
        ("test_mean_return", [], "stays empty with num_test_envs=0"),
    ],
)
def test_a_column_that_stays_empty_is_refused(column, words, message):
    train = ["train", "coinrun", "--total-timesteps", str(8 * 16384)]
    with pytest.raises(ConfigError, match=message):
        check_metric(column, parse_command([*train, *words]).config)
    more = [*train, "--eval-every", "8", "--num-test-envs", "4"]
    check_metric(column, parse_command(more).config)
