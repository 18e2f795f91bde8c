"""The Procgen benchmark's numbers, files and pictures, from made-up runs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from made_runs import files_in, make_evaluation, make_run

from ppo_mpi.envs.procgen_scores import normalized_score
from ppo_mpi.errors import MissingPackageError
from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.experiments.benchmark_figures import POINTS_DRAWN, block_means, plausible
from ppo_mpi.experiments.benchmark_tables import Benchmark, aggregates, amount, collect, game_rows
from ppo_mpi.experiments.procgen_benchmark import conclude, plan
from ppo_mpi.experiments.results import RunCurve, band, measured_speed, read_curve
from ppo_mpi.modes.intervals import student_quantile
from ppo_mpi.registry import PROCGEN_GAMES
from ppo_mpi.reports.published import (
    EASY_200,
    HARD_500,
    published_curves,
    published_score,
)
from ppo_mpi.settings.experiment import ExperimentConfig
from ppo_mpi.settings.variants import VariantsConfig

PICTURES = {f"{name}.{kind}" for name in ("curves", "scores", "aggregate") for kind in
            ("png", "pdf")}  # fmt: skip
TABLES = {"games.csv", "aggregate.csv", "curves.csv", "games.md"}


def planned(folder: Path, **changed: object) -> tuple[ExperimentConfig, list[PlannedRun]]:
    values = {
        "name": "procgen-benchmark", "games": "coinrun,starpilot", "seeds": 2,
        "total_timesteps": 1_638_400, "checkpoint_dir": str(folder / "checkpoints"),
        "asset_dir": str(folder),
    }  # fmt: skip
    config = ExperimentConfig(**(values | changed))
    return config, plan(config, ())


def trained(folder: Path, **changed: object) -> tuple[ExperimentConfig, list[PlannedRun]]:
    """Make runs whose curves rise to 8 + seed on training, to 6 + seed on held-out levels."""
    config, runs = planned(folder, **changed)
    for run in runs:
        make_run(run, lambda x, s=run.seed: 4 + 4 * x + s, lambda x, s=run.seed: 4 + 2 * x + s)
    return config, runs


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_curve_leaves_out_iterations_without_an_episode(tmp_path):
    _, runs = trained(tmp_path)
    curve = read_curve(runs[0].folder, "train")
    assert curve is not None
    assert curve.timesteps[0] == 16_384
    assert len(curve.timesteps) == 100
    assert read_curve(tmp_path, "train") is None
    make_run(planned(tmp_path, label="new")[1][0], lambda x: x)
    assert read_curve(planned(tmp_path, label="new")[1][0].folder, "test") is None


def curve_of(iterations: int, log_every: int = 1) -> RunCurve:
    """Return a run whose mean return is its iteration's number."""
    numbers = np.arange(log_every, iterations + 1, log_every, dtype=float)
    return RunCurve(64.0 * numbers, numbers, numbers)


def test_a_final_score_is_the_mean_of_the_last_part():
    assert curve_of(20).final == 20.0
    assert curve_of(150).final == np.arange(141, 151).mean()
    assert curve_of(1525).final == np.arange(1426, 1526).mean()


@pytest.mark.parametrize(("every", "rows"), [(10, 10), (64, 2), (2000, 1)])
def test_rows_of_many_iterations_are_averaged_over_as_many_iterations(every, rows):
    curve = curve_of(12_800, every)
    assert curve.final == curve.returns[-rows:].mean()


def test_a_band_is_the_mean_and_students_interval_up_to_where_all_have_come():
    four, two_rows = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0])
    one = RunCurve(np.array([10.0, 20.0, 30.0, 40.0]), four, four)
    two = RunCurve(np.array([15.0, 35.0]), np.array([3.0, 7.0]), two_rows)
    both = band([one, two])
    assert both.timesteps.tolist() == [20.0, 30.0]
    assert both.mean.tolist() == [3.0, 4.5]  # the second is at 4 and 6 there
    half = student_quantile(1) * np.array([2.0, 3.0]) / np.sqrt(2) / np.sqrt(2)
    assert both.high - both.mean == pytest.approx(half)
    alone = band([one])
    assert (alone.low.tolist(), alone.runs) == (one.returns.tolist(), 1)


def test_the_speed_is_that_of_the_runs_so_far(tmp_path):
    _, runs = trained(tmp_path, seeds=1)
    assert measured_speed(runs) == 100.0
    assert measured_speed(planned(tmp_path, label="none")[1]) is None


def test_the_published_means_are_those_of_the_paper():
    for table, mode, train, test in ((EASY_200, "easy", 0.594, 0.353),
                                     (HARD_500, "hard", 0.511, 0.277)):  # fmt: skip
        assert set(table) == set(PROCGEN_GAMES)
        for column, mean in ((0, train), (1, test)):
            plain = VariantsConfig()
            scores = [normalized_score(g, mode, plain, own[column]) for g, own in table.items()]
            assert np.mean([s for s in scores if s is not None]) == pytest.approx(mean, abs=2.5e-3)


def test_published_curves_end_where_the_published_scores_say():
    curves = published_curves()
    assert {game for _, game, _ in curves} < set(PROCGEN_GAMES)
    for setting, game, split in curves:
        if setting.endswith("all"):
            score = published_score(curves, setting, game, split)
            assert score is not None
            continue
        curve = curves[setting, game, split]
        end = min(25e6 if setting == "easy-200" else 200e6, curve.timesteps[-1])
        expected = published_score(curves, setting, game, split)
        assert curve.at(end) == pytest.approx(expected, rel=0.12, abs=0.35)
    assert published_score(curves, "easy-all", "heist", "train") is None
    assert published_score(curves, "easy-all", "coinrun", "test") is None
    assert curves["easy-200", "coinrun", "train"].at(1e12) is None


def test_a_games_row_has_ours_beside_what_was_published(tmp_path):
    _, runs = trained(tmp_path)
    make_evaluation(runs[0], 8.0, 6.0, same_layout=20)
    make_evaluation(runs[1], 9.0, 7.0, same_layout=30)
    coinrun, starpilot = game_rows(collect("easy-200", runs))
    last = [4 + 4 * k / 100 for k in range(95, 101)]  # 100 iterations: the last 6
    assert coinrun["train_return"] == pytest.approx(np.mean(last) + 0.5)
    assert coinrun["train_high"] - coinrun["train_return"] == pytest.approx(12.7062 / 2, rel=1e-4)
    assert coinrun["gap"] == pytest.approx(coinrun["train_return"] - coinrun["test_return"])
    assert (coinrun["train_published"], coinrun["test_published"]) == (9.6, 8.7)
    assert 5 < coinrun["train_published_after_as_many"] < 9.6
    assert coinrun["train_normalized"] == pytest.approx((coinrun["train_return"] - 5) / 5)
    assert (coinrun["evaluated_train_return"], coinrun["evaluated_test_return"]) == (8.5, 6.5)
    assert coinrun["evaluated_test_return_without_repeated_levels"] == 6.0
    assert coinrun["repeated_held_out_levels"] == 25
    assert starpilot["evaluated_test_return"] is None


def test_normalized_scores_over_games(tmp_path):
    config, runs = trained(tmp_path)
    rows = aggregates(collect(config.setting, runs))
    assert [(r["levels"], r["statistic"]) for r in rows] == [
        ("train", "mean"), ("train", "interquartile mean"),
        ("test", "mean"), ("test", "interquartile mean"),
    ]  # fmt: skip
    finals = [np.mean([4 + 4 * k / 100 for k in range(95, 101)]) + seed for seed in (0, 1)]
    scores = [[(f - 5) / 5 for f in finals], [(f - 2.5) / 61.5 for f in finals]]
    assert rows[0]["normalized_score"] == pytest.approx(np.mean(scores))
    assert rows[1]["normalized_score"] == pytest.approx(np.mean(sorted(np.ravel(scores))[1:3]))
    assert rows[0]["low"] < rows[0]["normalized_score"] < rows[0]["high"]
    assert rows[0]["published"] == pytest.approx(((9.6 - 5) / 5 + (29.9 - 2.5) / 61.5) / 2)
    assert aggregates(collect(config.setting, runs)) == rows


def test_tables_and_figures_are_written_for_one_game_as_for_sixteen(tmp_path, capsys):
    for games in ("maze", "all"):
        config, runs = trained(tmp_path, games=games, label=games, seeds=3)
        folder = tmp_path / games
        folder.mkdir()
        written = conclude(config, runs, folder)
        assert files_in(folder) == TABLES | PICTURES == {path.name for path in written}
        assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
        assert (folder / "curves.pdf").read_bytes()[:5] == b"%PDF-"
        assert len(read(folder / "games.csv")) == (1 if games == "maze" else 16)
    points = read(tmp_path / "maze" / "curves.csv")
    assert {row["levels"] for row in points} == {"train", "test"}
    assert float(points[-1]["timesteps"]) == 1_638_400 or len(points) > 100
    table = (tmp_path / "maze" / "games.md").read_text()
    assert "1.64M timesteps a run (published: 25M)" in table
    assert "| maze | 3 | 8.9 ± " in table
    shown = capsys.readouterr().out
    assert "normalized mean on training levels" in shown
    assert "published 0.594" in shown


def test_a_setting_without_held_out_levels_has_no_such_columns(tmp_path):
    config, runs = planned(tmp_path, setting="easy-all", games="heist", seeds=1)
    make_run(runs[0], lambda x: 5 * x)
    folder = tmp_path / "figures"
    folder.mkdir()
    conclude(config, runs, folder)
    assert "held-out" not in (folder / "games.md").read_text()
    (row,) = read(folder / "games.csv")
    assert (row["test_return"], row["train_low"], row["train_published"]) == ("", "", "")
    assert files_in(folder) >= PICTURES


def test_half_of_an_experiment_is_drawn_as_far_as_it_is(tmp_path):
    config, runs = planned(tmp_path)
    make_run(runs[0], lambda x: 5 + x, lambda x: 5.0, until=0.5)
    folder = tmp_path / "figures"
    folder.mkdir()
    conclude(config, runs, folder)
    assert [row["game"] for row in read(folder / "games.csv")] == ["coinrun"]
    assert conclude(*planned(tmp_path, label="nothing"), folder) == []


def test_without_matplotlib_the_tables_are_there_and_the_error_names_the_extra(
    tmp_path, monkeypatch
):
    config, runs = trained(tmp_path)
    folder = tmp_path / "figures"
    folder.mkdir()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r'pip install "ppo_mpi\[plot\]"'):
        conclude(config, runs, folder)
    assert files_in(folder) == TABLES


def test_an_interval_of_two_runs_does_not_flatten_the_curve():
    mean = np.array([1.0, 3.0])
    low, high = plausible(mean, mean - 100, mean + 0.5)
    assert low.tolist() == [-1.0, -1.0]
    assert high.tolist() == [1.5, 3.5]


def test_amounts_are_short():
    assert [amount(n) for n in (98_304, 1_638_400, 25_000_000, 2e8)] == [
        "98.3k", "1.64M", "25M", "200M",
    ]  # fmt: skip


def test_titles_say_when_the_budget_is_smaller_than_the_published(tmp_path):
    _, runs = planned(tmp_path)
    short = collect("easy-200", runs)
    assert isinstance(short, Benchmark)
    assert short.title == "Procgen easy-200, 1.64M timesteps a run (published: 25M)"
    _, runs = planned(tmp_path, total_timesteps=0)
    assert collect("easy-200", runs).title == "Procgen easy-200, 25M timesteps a run"


def test_a_drawn_curve_keeps_the_mean_of_each_stretch():
    values = np.arange(3.0 * POINTS_DRAWN - 1)
    drawn = block_means(values)
    assert len(drawn) == POINTS_DRAWN
    assert drawn[:2].tolist() == [1.0, 4.0]
    assert drawn[-1] == values[-2:].mean()
    few = np.array([3.0, 1.0])
    assert block_means(few).tolist() == [3.0, 1.0]
