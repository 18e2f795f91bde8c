"""What the panel says, and the curves and shares in it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ppo_mpi.storage.panel import View, number_text, panel, rendered, size_text
from ppo_mpi.storage.sparkline import BLOCKS, MOST_POINTS, History, sparkline
from ppo_mpi.storage.time_parts import shares, time_parts

ROW = {
    "collect_seconds": 4.0, "engine_seconds": 3.0, "update_seconds": 5.0,
    "communication_seconds": 2.0, "waiting_seconds": 1.5, "between_seconds": 1.0,
}  # fmt: skip


def text_of(view: View, columns: int = 100, rows: int = 30) -> str:
    console = Console(file=io.StringIO(), width=columns, no_color=True)
    return "\n".join(line for line, _ in rendered(panel(view, columns, rows, False), console))


def test_the_parts_of_the_time_do_not_overlap_and_add_up():
    parts = time_parts(ROW)
    assert parts == {
        "engine": 3.0, "policy": 1.0, "update": 3.0, "MPI": 0.5, "waiting": 1.5, "other": 1.0,
    }  # fmt: skip
    assert sum(parts.values()) == 4.0 + 5.0 + 1.0  # collecting, learning, and between
    assert shares({"a": 1.0, "b": 3.0}) == {"a": 0.25, "b": 0.75}
    assert shares({"a": 0.0}) == {}
    assert time_parts({"collect_seconds": 1.0, "update_seconds": 2.0}) == {
        "collect": 1.0, "update": 2.0,
    }  # fmt: skip


def test_the_panel_names_what_a_user_looks_for():
    row = ROW | {
        "mean_return": 7.5, "min_return": -1.0, "max_return": 10.0, "num_episodes": 1234.0,
        "test_mean_return": 6.25, "test_num_episodes": 55.0, "policy_loss": -0.01234,
        "approx_kl": 0.005, "busy_min": 0.5, "busy_median": 0.9, "busy_max": 0.99,
        "slowest_rank": 1.0, "memory_mebibytes": 2048.0, "largest_rank_mebibytes": 700.0,
    }  # fmt: skip
    view = View(
        "coinrun", 25_000_000, 5_000_000, 305, 2000.0, 3661.0, 12.0, "learning", row,
        shares(time_parts(row)), {"mean_return": [1, 2, 3], "test_mean_return": [3, 2, 1]},
        ["n1", "n2"], "step-7",
    )  # fmt: skip
    text = text_of(view)
    for words in (
        "coinrun", "20%", "ETA 2:46:28", "5M of 25M timesteps", "2,000 timesteps/s",
        "iteration 305", "learning 12 s", "1:01:01 elapsed", "7.50  ▁▅█", "-1 to 10, 1,234",
        "6.25  █▅▁", "55 episodes", "engine 30%", "policy 10%", "update 30%", "MPI 5%",
        "waiting for the slowest 15%", "other 10%", "policy -0.0123", "KL 0.005",
        "2 on 2 hosts", "busy 50% to 99%, median 90%", "slowest: rank 1 on n2",
        "2.0 GiB in all ranks, 700 MiB in the largest", "step-7",
    ):  # fmt: skip
        assert words in text, words


def test_one_rank_waits_for_nobody_and_no_episode_may_have_ended():
    text = text_of(View("t", 10, 5, 1, 1.0, row={**ROW}, shares=shares(time_parts(ROW))))
    assert "no episode finished yet" in text
    assert "waiting" not in text
    assert "ranks" not in text
    assert "ETA ?" in text_of(View("t", 10))


def test_letters_tell_the_parts_apart_where_there_are_no_colors():
    view = View("t", 10, 5, 1, 1.0, row=ROW, shares=shares(time_parts(ROW)), hosts=["a", "b"])
    console = Console(file=io.StringIO(), width=100, no_color=True)
    lines = [line for line, _ in rendered(panel(view, 100, 30, False, False), console)]
    (bar,) = [line for line in lines if "time" in line and "eee" in line]
    letters = bar.strip("│ ").removeprefix("time").strip()
    assert "".join(dict.fromkeys(letters)) == "epuMwo"


def test_a_low_terminal_keeps_what_matters_most():
    row = ROW | {"mean_return": 7.5, "policy_loss": 0.1, "memory_mebibytes": 1.0}
    row["largest_rank_mebibytes"] = 1.0
    view = View("t", 10, 5, 1, 1.0, row=row, shares=shares(time_parts(row)))
    assert len(text_of(view, rows=6).splitlines()) == 6
    assert "7.50" in text_of(view, rows=6)
    assert "memory" not in text_of(view, rows=6)
    assert "memory" in text_of(view, rows=10)


def test_losses_of_other_algorithms_and_of_auxiliary_heads_are_shown_where_there_is_room():
    row = {
        "policy_loss": 0.125, "value_loss": 0.25, "entropy": 0.5, "approx_kl": 1e-9,
        "explained_variance": 0.75, "gradient_norm": 2.0, "trust_region_scale": 0.375,
        "predicted_kl": 0.001, "auxiliary_loss": 7.0, "auxiliary/side_loss": 3.0,
    }  # fmt: skip
    view = View("t", 10, 5, 1, 1.0, row=row)
    for columns in (60, 100):
        text = text_of(view, columns)
        for words in ("trust region 0.375", "predicted KL 0.001", "auxiliary 7", "y/side 3"):
            assert words in text, words
        assert " KL 1e-09" not in text  # a single step's, which says nothing
    assert "auxiliary/side" not in text_of(view, 60, rows=9)
    assert " KL 0.002" in text_of(View("t", 10, 5, row={"approx_kl": 0.002}))


def test_a_sparkline_shows_means_of_neighbors():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == BLOCKS
    assert sparkline([0, 2, 7, 7], 2) == "▁█"
    assert sparkline([3, 3], 5) == "▁▁"
    assert sparkline([], 5) == sparkline([1], 0) == ""


def test_a_history_is_bounded_and_keeps_the_mean():
    history = History()
    for value in range(10_000):
        history.add(float(value))
    for nothing in (None, float("nan"), float("inf")):
        history.add(nothing)
    assert MOST_POINTS / 2 <= len(history.points) < MOST_POINTS
    steps = {b - a for a, b in zip(history.points, history.points[1:], strict=False)}
    assert steps == {32.0}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (3.0, "3"), (1234567.5, "1.23e+06"), (0.00012345, "0.000123")]
)
def test_numbers_are_short(value, text):
    assert number_text(value) == text
    assert size_text(100.4) == "100 MiB"
