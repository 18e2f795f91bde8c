"""How long a rank may be silent, by what it does."""

from __future__ import annotations

import pytest

from ppo_mpi.distributed.heart import EVALUATING, SAVING, START_UP, Heart, silence_limit


def heart_in(phase: str, iteration: int, settled: bool) -> Heart:
    heart = Heart()
    heart.beat(phase)
    heart.iteration, heart.settled = iteration, settled
    return heart


@pytest.mark.parametrize(
    ("asked", "phase", "iteration", "settled", "slowest", "expected"),
    [
        (0, START_UP, 0, False, 0.0, 600),
        (0, "collecting", 1, False, 0.0, 600),
        (0, "collecting", 2, True, 0.0, 120),
        (0, "collecting", 2, True, 11.9, 120),
        (0, "collecting", 2, True, 30.0, 300),
        (0, SAVING, 9, True, 1.0, 600),
        (0, EVALUATING, 9, True, 70.0, 700),
        (5, "collecting", 1, False, 30.0, 5),
        (5, SAVING, 1, False, 0.0, 5),
        (5, START_UP, 0, False, 0.0, 120),
        (700, START_UP, 0, False, 0.0, 700),
    ],
)
def test_the_limit_is_the_one_asked_for_or_adapts_to_what_was_seen(
    asked: float, phase: str, iteration: int, settled: bool, slowest: float, expected: float
):
    assert silence_limit(asked, heart_in(phase, iteration, settled), slowest) == expected


def test_a_heart_has_settled_when_its_second_iteration_begins():
    heart = Heart()
    heart.begin_iteration(7)  # a resumed run
    assert not heart.settled
    heart.begin_iteration(8)
    assert heart.settled


def test_a_heart_says_what_it_does_and_what_it_waits_for():
    heart = Heart()
    assert heart.describe() == "starting up"
    heart.begin_iteration(3)
    heart.beat("learning")
    heart.waiting_for = "a sum"
    assert heart.describe() == "learning in iteration 3, waiting in a sum"


def test_a_beat_is_handed_on_to_what_listens() -> None:
    heart, phases = Heart(), []
    heart.beat("unheard")
    heart.pulse = lambda: phases.append(heart.phase)
    heart.beat("collecting")
    assert phases == ["collecting"]
