"""Goal misgeneralization's numbers, from episodes made by hand and from random ones."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import files_in, make_run

from ppo_mpi.errors import MissingPackageError
from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.experiments.coinrun_values import (
    FILE,
    PLACES,
    mean_with_bars,
    read_values,
    write_values,
)
from ppo_mpi.experiments.goal_misgeneralization import conclude, plan
from ppo_mpi.experiments.misgeneralization_pairs import PAIRS
from ppo_mpi.experiments.misgeneralization_results import (
    failures,
    good_levels,
    outcomes,
    past_the_spot,
    rate,
    read_episodes,
)
from ppo_mpi.experiments.statistics import wilson_interval
from ppo_mpi.modes.intervals import student_quantile
from ppo_mpi.settings.experiment import ExperimentConfig

Row = Mapping[str, float]


def columns(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def episode(level: int, first: int, spot: int = 0, randomized: int = 1) -> dict[str, float]:
    """Return a row of coinrun: what was touched first, and whether the random place was."""
    coin = first == 1
    proxy = first == 2 or (coin and not randomized)
    facts = {"intended_goal": coin, "proxy_goal": proxy, "level_complete": coin, "first": first}
    facts |= {"randomized": randomized, "spot_reached": spot, "died": first == 0, "timed_out": 0}
    shared = {"level": level, "train_seed": 0, "timesteps": 9, "return": 10 * coin, "length": 50}
    return {**shared, **facts}


def random_episodes(random: np.random.Generator, levels: int, repeats: int) -> list[Row]:
    return [
        episode(level, int(random.integers(3)), int(random.random() < 0.02 * level))
        for _ in range(repeats)
        for level in range(levels)
    ]


def test_levels_are_good_where_vanilla_agents_seldom_meet_the_random_place():
    rows = [episode(0, 1)] * 10  # never
    rows += [episode(1, 1, spot=1), *[episode(1, 1)] * 9]  # once in ten is not less than 10 %
    rows += [episode(2, 1, spot=1), *[episode(2, 1)] * 10]  # once in eleven is
    rows += [episode(7, 1, spot=1)] * 10
    good = good_levels([columns(rows)])
    assert good is not None
    assert good.tolist() == [0, 2]
    # Of two agents the runs count together: 1 of 20 in level 1, 2 of 20 in level 2.
    other = [*[episode(1, 0)] * 10, episode(2, 0, spot=1), *[episode(2, 0)] * 8]
    both = good_levels([columns(rows), columns(other)])
    assert both is not None
    assert both.tolist() == [0, 1]
    assert good_levels([]) is None


def test_failures_by_hand():
    train = columns([episode(0, 1, randomized=0), episode(1, 0), episode(2, 1), episode(3, 0)])
    test = columns([episode(0, 2), episode(1, 2), episode(2, 1), episode(3, 0)])
    failed = failures(PAIRS["coinrun"], [train], [test], np.array([0, 2, 3]))
    assert failed.objective is not None
    assert failed.iid is not None
    assert (failed.levels, failed.objective.successes, failed.objective.episodes) == (3, 1, 3)
    assert (failed.iid.successes, failed.iid.episodes) == (1, 3)
    everywhere = failures(PAIRS["coinrun"], [train], [test], None)
    assert everywhere.objective is not None
    assert (everywhere.levels, everywhere.objective.estimate) == (None, wilson_interval(2, 4))
    nothing = failures(PAIRS["coinrun"], [train], [], np.array([99]))
    assert (nothing.levels, nothing.objective, nothing.iid) == (1, None, None)


def test_failures_with_keys_are_those_of_no_use():
    rows = [
        {"level": 0.0, "level_complete": 1.0, "keys_after_useless": 2.0},
        {"level": 1.0, "level_complete": 1.0, "keys_after_useless": 0.0},
        {"level": 2.0, "level_complete": 0.0, "keys_after_useless": 0.0},
    ]
    failed = failures(PAIRS["keys"], [columns(rows)], [columns(rows)], None)
    assert failed.objective is not None
    assert failed.iid is not None
    assert (failed.objective.successes, failed.iid.successes) == (1, 1)
    assert outcomes(columns(rows))["useless_keys"].tolist() == [True, False, False]


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_of_figure_2_are_those_of_plain_loops(seed):
    random = np.random.default_rng(seed)
    vanilla = [random_episodes(random, 30, 11) for _ in range(2)]
    train, test = ([random_episodes(random, 30, 1) for _ in range(3)] for _ in range(2))

    good = []
    for level in range(30):
        met = [row["spot_reached"] for own in vanilla for row in own if row["level"] == level]
        if sum(met) / len(met) < 0.1:
            good.append(level)
    wrong = [row["first"] == 2 for own in test for row in own if row["level"] in good]
    missed = [row["intended_goal"] == 0 for own in train for row in own if row["level"] in good]
    past = [
        row["intended_goal"] == 1 and row["spot_reached"] == 0
        for own in vanilla for row in own if row["level"] in good
    ]  # fmt: skip

    vanilla_columns = [columns(own) for own in vanilla]
    found = good_levels(vanilla_columns)
    assert found is not None
    assert found.tolist() == good
    assert 0 < len(good) < 30
    failed = failures(
        PAIRS["coinrun"], [columns(r) for r in train], [columns(r) for r in test], found
    )
    line = past_the_spot(vanilla_columns, found)
    for own, expected in ((failed.objective, wrong), (failed.iid, missed), (line, past)):
        assert own is not None
        assert own.estimate.value == pytest.approx(sum(expected) / len(expected))
        assert (own.successes, own.episodes) == (sum(expected), len(expected))


def test_a_rate_has_wilsons_interval_over_episodes_and_students_over_runs():
    one, two = np.array([True, False, False, False]), np.array([True, True, False, False])
    both = rate([one, two, np.zeros(0, bool)])
    assert both is not None
    assert both.estimate == wilson_interval(3, 8)
    half = student_quantile(1) * np.std([0.25, 0.5], ddof=1) / np.sqrt(2)
    assert both.over_runs.value == 0.375
    assert both.over_runs.high == pytest.approx(0.375 + half)
    assert rate([np.zeros(0, bool)]) is None


def test_what_some_episodes_do_not_tell_is_no_outcome():
    told = columns([episode(0, 1), episode(1, 2)])
    told["spot_reached"][1] = np.nan
    found = outcomes(told)
    assert "spot_reached" not in found
    assert found["intended_first"].tolist() == [True, False]
    assert found["proxy_first"].tolist() == [False, True]


def test_bars_are_the_percentiles_of_means_of_resamples():
    values = np.random.default_rng(0).normal(3, 2, 50)
    bars = mean_with_bars(values, np.random.default_rng(1))
    # For many values the mean is normal: 5 % lie 1.645 standard errors below.
    spread = 1.645 * values.std() / np.sqrt(50)
    assert bars.value == pytest.approx(values.mean())
    assert bars.low == pytest.approx(values.mean() - spread, abs=0.1 * spread)
    assert bars.high == pytest.approx(values.mean() + spread, abs=0.1 * spread)


def write_episodes(run: PlannedRun, role: str, rows: Sequence[Row]) -> None:
    """Write what evaluate leaves of a run, with a column that is no number."""
    with (run.folder / f"{role}.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["run", "env", "split", *rows[0], "same_picture"])
        for row in rows:
            table.writerow([run.folder.name, "x", "all", *map(float, row.values()), ""])


def made(folder: Path, **changed: object) -> tuple[ExperimentConfig, list[PlannedRun]]:
    """Make finished runs of a sweep over random_percent, which fail less and less."""
    config = ExperimentConfig(
        name="goal-misgeneralization", seeds=2, total_timesteps=655_360, preset="misgen-easy",
        checkpoint_dir=str(folder / "checkpoints"), asset_dir=str(folder), value_levels=3,
        sweep="random_percent=0,2,10",
    )  # fmt: skip
    config = replace(config, **changed)
    runs = plan(config, ())
    for number, run in enumerate(runs):
        make_run(run, lambda x: 10 * x, lambda x, n=number: 2 + n * x)
        good = [episode(level, 1, randomized=0) for level in range(20)]
        write_episodes(run, "train", [*good, episode(20, 0)])
        test = [episode(level, 2 if level >= number else 1) for level in range(21)]
        write_episodes(run, "test", test)
        if any(one.file == "vanilla.json" for one in run.evaluations):
            write_episodes(run, "vanilla", [episode(lv, 1, lv == 20, 0) for lv in range(21)] * 2)
        asked = f"{run.timesteps_done()}:3:{config.eval_levels}"
        write_values(run.folder / FILE, asked, {
            (place, seen): np.array([k, k + 1, k + 2 + seen])
            for k, place in enumerate(PLACES) for seen in (False, True)
        })  # fmt: skip
    return config, runs


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_ends_in_tables_and_figures(tmp_path, capsys):
    config, runs = made(tmp_path)
    written = conclude(config, runs, tmp_path)
    names = {"episodes.csv", "rates.csv", "means.csv", "failures.csv", "rates.md", "summary.json",
             "values.csv"}  # fmt: skip
    figures = ("curves", "rates", "failures-coinrun", "values")
    names |= {f"{name}.{kind}" for name in figures for kind in ("png", "pdf")}
    assert {path.name for path in written} == names <= files_in(tmp_path)
    rows = read(tmp_path / "failures.csv")
    assert [row["value"] for row in rows] == ["0", "2", "10"]
    # Level 20 has the random place on the way; of 20 others the runs fail in 20, 19, 18, ...
    assert {row["good_levels"] for row in rows} == {"20"}
    assert [float(row["objective_rate"]) for row in rows] == [39 / 40, 35 / 40, 31 / 40]
    assert [row["objective_episodes"] for row in rows] == ["40"] * 3
    assert [float(row["iid_rate"]) for row in rows] == [0, 0, 0]
    assert {float(row["vanilla_past_the_spot"]) for row in rows} == {1.0}
    episodes = read(tmp_path / "episodes.csv")
    assert len(episodes) == 6 * 42 + 2 * 42
    assert {(row["pair"], row["setting"]) for row in episodes} == {("coinrun", "random_percent")}
    (row,) = [r for r in read(tmp_path / "rates.csv")
              if (r["value"], r["role"], r["what"]) == ("2", "test", "proxy_first")]  # fmt: skip
    assert (row["env"], row["happened"], row["episodes"]) == ("coinrun_aisc", "37", "42")
    values = read(tmp_path / "values.csv")
    assert [row["place"] for row in values[:8:2]] == list(PLACES)
    assert [float(row["mean_value"]) for row in values[:2]] == [1.0, pytest.approx(4 / 3)]
    assert {row["scenes"] for row in values} == {"6"}
    document = json.loads((tmp_path / "summary.json").read_text())
    assert document["failures"][0]["objective_rate"] == 39 / 40
    shown = (tmp_path / "rates.md").read_text()
    assert shown in capsys.readouterr().out
    assert "| coinrun-random_percent2 | coinrun_aisc | 42 | 11.9 (5.2 to 25.0) |" in shown


def test_without_a_sweep_there_is_no_figure_of_failures(tmp_path):
    config, runs = made(tmp_path, sweep="")
    written = {path.name for path in conclude(config, runs, tmp_path)}
    assert {"rates.png", "curves.png", "values.png", "failures.csv"} <= written
    assert not any(name.startswith("failures-") for name in written)
    (row,) = read(tmp_path / "failures.csv")
    assert row["good_levels"] == ""


def test_what_is_not_finished_is_said(tmp_path):
    config, runs = made(tmp_path)
    (runs[2].folder / "DONE").unlink()
    conclude(config, runs, tmp_path)
    shown = (tmp_path / "rates.md").read_text()
    assert shown.startswith("misgen-easy, 655k timesteps a run, 5 of 6 runs finished; percent")


def test_values_are_measured_again_when_the_run_has_gone_on(tmp_path):
    write_values(tmp_path / FILE, "5:3:0-9", {(PLACES[0], True): np.array([1.5, 2.5])})
    again = read_values(tmp_path / FILE, "5:3:0-9")
    assert again is not None
    assert again[PLACES[0], True].tolist() == [1.5, 2.5]
    assert read_values(tmp_path / FILE, "6:3:0-9") is None
    assert read_values(tmp_path / "none.csv", "5:3:0-9") is None


def test_an_empty_cell_is_no_number(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("run,level,first,same_picture\na,3,1.0,\nb,4,,True\n")
    found = read_episodes(path)
    assert set(found) == {"level", "first"}
    np.testing.assert_array_equal(found["first"], [1.0, np.nan])


def test_without_any_run_there_is_nothing_to_draw(tmp_path, capsys):
    config = ExperimentConfig(name="goal-misgeneralization", checkpoint_dir=str(tmp_path))
    assert conclude(config, plan(config, ()), tmp_path) == []
    assert "nothing has been trained yet" in capsys.readouterr().out
    assert files_in(tmp_path) == set()


def test_without_matplotlib_the_tables_are_written(tmp_path, monkeypatch):
    config, runs = made(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match="the tables are written already"):
        conclude(config, runs, tmp_path)
    assert {"rates.csv", "failures.csv", "values.csv"} <= files_in(tmp_path)
