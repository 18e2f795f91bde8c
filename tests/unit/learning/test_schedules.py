"""Settings that change with the progress of the job."""

from __future__ import annotations

import pytest

from ppo_mpi.learning.schedules import continues_episodes, scheduled


def test_a_constant_schedule_stays_at_its_start() -> None:
    assert [scheduled(0.2, 0.0, "constant", x) for x in (0.0, 0.5, 1.0)] == [0.2, 0.2, 0.2]


def test_a_linear_schedule_goes_straight_from_start_to_end() -> None:
    assert [scheduled(8.0, 2.0, "linear", x) for x in (0.0, 0.25, 0.5, 1.0)] == [8, 6.5, 5, 2]


def test_an_unknown_schedule_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown schedule 'cosine'; known: constant, linear"):
        scheduled(1.0, 0.0, "cosine", 0.5)


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
