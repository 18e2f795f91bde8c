"""The soak's verdict: what counts as growth, what the table holds, and when it fails."""

from __future__ import annotations

import dataclasses

import pytest
from soak_summary import (
    LEAST_SAMPLES,
    MORE_FILES,
    SEGMENTS_LEFT,
    TEMPORARY_FILES_LEFT,
    Event,
    Record,
    Sample,
    all_problems,
    beginning_and_end,
    growth_problems,
    summary,
)

SAMPLE = Sample(0.0, "CartPole", 300.0, 50.0, 20, 0, 1)
EVENT = Event(12.0, "kill a rank", "SIGKILL to rank 2", 9.5, 3)


def growing(name: str, by: float) -> list[Sample]:
    """Return samples of which one value grows from the first to the last."""
    first = getattr(SAMPLE, name)
    number = 2 * LEAST_SAMPLES
    return [
        dataclasses.replace(SAMPLE, seconds=float(i), **{name: first + by * i / (number - 1)})
        for i in range(number)
    ]


def test_the_beginning_and_the_end_are_the_largest_of_a_quarter():
    assert beginning_and_end([1, 5, 2, 9, 9, 9, 3, 4]) == (5, 4)
    assert beginning_and_end([7]) == (7, 7)
    assert beginning_and_end([1, 2, 3]) == (1, 3)


@pytest.mark.parametrize(
    ("name", "little", "much", "told"),
    [
        ("memory_mib", 50, 100, "memory of rank 0 grew from 320 to 400"),
        ("supervisor_mib", 30, 60, "memory of the supervisor grew from 62 to 110"),
        ("files", MORE_FILES, 3 * MORE_FILES, "files grew from 28 to 62"),
    ],
)
def test_growth_beyond_what_comes_and_goes_is_a_problem(
    name: str, little: float, much: float, told: str
):
    assert growth_problems(growing(name, little)) == []
    (problem,) = growth_problems(growing(name, much))
    assert told in problem


def test_games_are_compared_with_their_like():
    large = dataclasses.replace(SAMPLE, game="starpilot", memory_mib=900.0)
    assert growth_problems([SAMPLE] * LEAST_SAMPLES + [large] * LEAST_SAMPLES) == []


def test_few_samples_say_nothing_of_growth_but_shared_memory_counts_at_the_end():
    few = growing("memory_mib", 1000)[: LEAST_SAMPLES - 1]
    assert growth_problems(few) == []
    left = dataclasses.replace(SAMPLE, segments_left=SEGMENTS_LEFT + 1)
    assert growth_problems([left, SAMPLE]) == []
    (problem,) = growth_problems([SAMPLE, left])
    assert "9 pieces of shared memory are left" in problem
    left = dataclasses.replace(SAMPLE, temporary_files=TEMPORARY_FILES_LEFT + 1)
    (problem,) = growth_problems([SAMPLE, left])
    assert "25 temporary files are left" in problem


def test_one_problem_of_one_fault_fails_the_whole():
    record = Record([EVENT, EVENT], [SAMPLE], ["run-0 the same"], [], 3)
    assert all_problems(record) == []
    assert summary(record).endswith("\nPASS")
    record.events.append(dataclasses.replace(EVENT, problems=("it does not go on",)))
    assert all_problems(record) == ["12 s, kill a rank: it does not go on"]
    text = summary(record)
    assert "PROBLEM  12 s, kill a rank: it does not go on" in text
    assert text.endswith("\nFAIL")
    record.events.clear()
    record.problems.append("a run differs")
    assert summary(record).endswith("\nFAIL")


def test_a_soak_without_a_compared_run_fails():
    assert all_problems(Record([EVENT], [SAMPLE])) == ["no run was compared"]


def test_the_table_counts_faults_by_kind_with_what_they_cost():
    other = dataclasses.replace(EVENT, seconds_to_recover=20.5, lost_iterations=5)
    paused = dataclasses.replace(EVENT, kind="pause a rank", lost_iterations=0)
    record = Record([EVENT, paused, other], [SAMPLE], ["run-0 the same"], [], 3)
    lines = summary(record).splitlines()
    assert "kill a rank                 2    15.0      20.5        8      5" in lines
    assert "pause a rank                1     9.5       9.5        0      0" in lines
    assert "lives: 3, faults: 3" in lines
    assert "run-0 the same" in lines
