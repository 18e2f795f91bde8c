"""Schedules: each form against its formula, what is refused, and soft resets by progress."""

from __future__ import annotations

import math

import pytest
import torch

from ppo_mpi.learning.schedules import continues_episodes, value_at

PLACES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def test_a_constant_schedule_stays_at_its_start() -> None:
    assert [value_at(0.2, "constant", x) for x in (0.0, 0.5, 1.0)] == [0.2, 0.2, 0.2]


def test_a_linear_schedule_goes_straight_from_start_to_end() -> None:
    places = (0.0, 0.25, 0.5, 1.0)
    assert [value_at(8.0, "linear", x, 2.0) for x in places] == [8, 6.5, 5, 2]
    assert [value_at(8.0, "linear:2", x, 7.0) for x in places] == [8, 6.5, 5, 2]
    assert [value_at(8.0, "linear:0.25x", x) for x in places] == [8, 6.5, 5, 2]
    assert [value_at(8.0, "linear", x) for x in places] == [8, 6, 4, 0]


def test_an_end_that_is_reached_early_is_kept() -> None:
    assert [value_at(8.0, "linear:2@0.5", x) for x in (0.0, 0.25, 0.5, 0.8)] == [8, 5, 2, 2]
    for kind in ("log", "cosine"):
        assert value_at(8.0, f"{kind}:2@0.5", 0.25) == value_at(8.0, f"{kind}:2", 0.5)
        assert value_at(8.0, f"{kind}:2@0.5", 0.7) == pytest.approx(2.0)


def test_a_logarithmic_schedule_is_the_decrement_of_a_thousand_iterations() -> None:
    for iteration in (1, 2, 10, 500, 1000):
        published = 3e-4 - math.log(iteration) * (3e-4 - 1e-4) / math.log(1000)
        found = value_at(3e-4, "log:1e-4", (iteration - 1) / 999)
        assert found == pytest.approx(published, rel=1e-12)


def test_a_cosine_schedule_is_half_a_cosine() -> None:
    for x in PLACES:
        assert value_at(3.0, "cosine:1", x) == pytest.approx(2 + math.cos(math.pi * x))


def test_one_cycle_is_torchs_with_linear_sides() -> None:
    steps = 201
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.3, anneal_strategy="linear",
        div_factor=25.0, final_div_factor=1e4,
    )  # fmt: skip
    peak = (0.3 * steps - 1) / (steps - 1)  # theirs counts the step that begins
    for step in range(1, steps):
        optimizer.step()
        theirs.step()
        found = value_at(1e-3, f"one_cycle:4e-6x@{peak}", step / (steps - 1))
        assert found == pytest.approx(theirs.get_last_lr()[0], rel=1e-6, abs=1e-12), step


def test_one_cycle_without_a_rise_is_the_line_of_the_atari_system() -> None:
    for x in PLACES:
        expected = 1e-3 + (1e-7 - 1e-3) * x
        assert value_at(1e-3, "one_cycle:1e-4x@0", x) == pytest.approx(expected, rel=1e-9)
    assert value_at(1e-3, "one_cycle", 0.3) == pytest.approx(1e-3)
    assert value_at(1e-3, "one_cycle", 0.0) == pytest.approx(4e-5)


def test_a_piecewise_schedule_jumps() -> None:
    text = "piecewise:0.3=1e-4,0.7=0.5x"
    places = (0.0, 0.29, 0.3, 0.69, 0.7, 1.0)
    assert [value_at(8.0, text, x) for x in places] == [8, 8, 1e-4, 1e-4, 4, 4]
    assert value_at(8.0, "piecewise:0=1", 0.0) == 1


@pytest.mark.parametrize(
    "text",
    [
        "", "square", "constant:1", "constant@1", "linear:", "linear:a", "linear:-1", "linear:nan",
        "linear:inf", "linear:x", "linear@0", "linear@1.5", "linear@x", "linear:1@", "one_cycle@1",
        "piecewise", "piecewise:", "piecewise:0.3", "piecewise:0.3=a", "piecewise:0.7=1,0.3=2",
        "piecewise:0.3=1,0.3=2", "piecewise:2=1", "piecewise:0.3=1@0.5", "Linear", "linear 1",
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_named_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no schedule; use constant, linear\[:END\]") as error:
        value_at(1.0, text, 0.5)
    assert str(error.value).startswith(repr(text))


@pytest.mark.parametrize(
    ("soft_resets", "progress", "continues"),
    [
        ("on", 0.0, True),
        ("off", 1.0, False),
        ("scheduled", 0.29, False),
        ("scheduled", 0.3, True),
        ("scheduled", 1.0, True),
    ],
)
def test_soft_resets_are_on_off_or_begin_at_some_progress(
    soft_resets: str, progress: float, continues: bool
) -> None:
    assert continues_episodes(soft_resets, 0.3, progress) is continues


def test_scheduled_soft_resets_may_go_off_and_on_again() -> None:
    places = (0.0, 0.3, 0.5, 0.6, 0.8, 1.0)
    found = [continues_episodes("scheduled", 0.3, x, (0.5, 0.8)) for x in places]
    assert found == [False, True, False, False, True, True]
    assert continues_episodes("on", 0.3, 0.6, (0.5,))
