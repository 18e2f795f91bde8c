"""What training says of worker processes that have to share cores."""

from __future__ import annotations

import pytest

from ppo_mpi.modes.announcements import crowded_workers

ALL = frozenset(range(4))


@pytest.mark.parametrize(
    ("num_workers", "affinities", "told"),
    [
        (0, [ALL], ""),
        (0, [frozenset({0}), frozenset({0})], ""),
        (4, [ALL], ""),
        (5, [ALL], "env_workers=5 for each of 1 rank(s) on 4 core(s): they take turns; use fewer"),
        (2, [ALL, ALL], ""),
        (3, [ALL, ALL], "env_workers=3 for each of 2 rank(s) on 4 core(s)"),
        (2, [frozenset({0}), frozenset({1})], "env_workers=2 for each of 1 rank(s) on 1 core(s)"),
    ],
)
def test_workers_that_share_cores_are_told(num_workers, affinities, told):
    assert crowded_workers(num_workers, affinities, 0).startswith(told)
    assert bool(crowded_workers(num_workers, affinities, 0)) == bool(told)
