"""Mean curves over runs, running means, and what stands in each picture."""

from __future__ import annotations

import numpy as np
import pytest
from curve_runs import curve_run, returns

from ppo_mpi.reports.bands import mean_over_runs, running_mean
from ppo_mpi.reports.grouping import group_runs
from ppo_mpi.reports.panels import make_panels, panel_rows
from ppo_mpi.reports.run_files import read_run_files


def curve(x, y):
    return np.array(x, float), np.array(y, float)


def panels_of(folders, columns=("mean_return",), smooth=1):
    return make_panels(
        group_runs([read_run_files(f) for f in folders]), "timesteps", columns, smooth, True
    )


def test_the_interval_of_three_runs_is_students():
    own = mean_over_runs([curve([1, 2], [k, 2 * k]) for k in (1, 2, 3)])
    assert own.mean.tolist() == [2.0, 4.0]
    # t(2) = 4.30265; standard errors 1 / sqrt(3) and 2 / sqrt(3)
    assert own.half.tolist() == pytest.approx([4.30265 / 3**0.5, 8.6053 / 3**0.5], rel=1e-4)


def test_runs_of_other_places_are_interpolated_up_to_where_all_have_come():
    own = mean_over_runs([curve([1, 2, 3, 4], [0, 0, 0, 0]), curve([0, 3], [0, 6])])
    assert (own.x.tolist(), own.mean.tolist(), own.runs) == ([1, 2, 3], [1, 2, 3], 2)
    alone = mean_over_runs([curve([1, 2], [5, 6])])
    assert (alone.mean.tolist(), alone.half.tolist()) == ([5, 6], [0, 0])


def slow_running_mean(values, rows):
    reach, n = rows // 2, len(values)
    means = []
    for k in range(n):
        own = min(reach, k, n - 1 - k)
        means.append(sum(values[k - own : k + own + 1]) / (2 * own + 1))
    return means


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 50])
def test_a_running_mean_leans_to_no_side(rows):
    values = np.random.default_rng(0).normal(size=11)
    assert running_mean(values, rows).tolist() == pytest.approx(slow_running_mean(values, rows))
    line = np.arange(11.0)
    assert running_mean(line, rows).tolist() == pytest.approx(line.tolist())


def test_single_runs_go_on_where_the_mean_ends(tmp_path):
    ((panel,)) = panels_of([
        curve_run(tmp_path / "a", returns(1.0, 2.0, 3.0, 4.0), seed=1),
        curve_run(tmp_path / "b", returns(3.0, 4.0), seed=2),
    ])  # fmt: skip
    (line,) = panel.lines
    assert line.curve.mean.tolist() == [2.0, 3.0]
    ((x, y),) = line.ends
    assert (x.tolist(), y.tolist()) == ([2000.0, 3000.0, 4000.0], [2.0, 3.0, 4.0])


def test_each_environment_has_a_picture_and_a_run_without_values_no_line(tmp_path):
    panels = panels_of([
        curve_run(tmp_path / "a", returns("", "")),
        curve_run(tmp_path / "b", returns(1.0), env="gym:Acrobot-v1"),
    ])  # fmt: skip
    assert [(panel.env, len(panel.lines)) for panel in panels] == [
        ("gym:CartPole-v1", 0), ("gym:Acrobot-v1", 1),
    ]  # fmt: skip
    (row,) = panel_rows(panels, "timesteps")
    assert row == {
        "environment": "gym:Acrobot-v1", "group": "", "column": "mean_return", "timesteps": 1000.0,
        "mean": 1.0, "low_95": "", "high_95": "", "runs": 1,
    }  # fmt: skip


def test_published_curves_stand_behind_the_same_game_and_setting_only(tmp_path):
    def references(name, **settings):
        run = curve_run(tmp_path / name, returns(1.0), env="procgen:coinrun", **settings)
        (panel,) = panels_of([run], ("mean_return", "test_mean_return"))
        return [(r.column, r.final) for r in panel.references]

    assert references("a", num_levels=200) == [("mean_return", 9.6), ("test_mean_return", 8.7)]
    assert references("b", num_levels=123) == []
    hard = references("c", num_levels=500, distribution_mode="hard")
    assert hard == [("mean_return", 7.7), ("test_mean_return", 6.3)]
