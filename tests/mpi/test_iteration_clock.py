"""The ranks' times come together: whose was the longest, and how long the others waited."""

from __future__ import annotations

import pytest

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.iteration_clock import IterationClock


def test_the_rank_that_spends_least_in_collectives_is_the_slowest(
    comm: Communicator, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 104.0, 110.0, *[110.0] * 10**6])
    clock = IterationClock()
    with monkeypatch.context() as patched:
        patched.setattr("ppo_mpi.distributed.iteration_clock.time.monotonic", lambda: next(times))
        clock.start(comm.seconds)
        clock.collected()
        # Rank 0 waits 1 s, rank 1 3 s, ...; but the last one, whose turn it was, 0.5 s.
        last = comm.rank == comm.world_size - 1
        comm.seconds += 0.5 if last else 1.0 + 2 * comm.rank
        metrics = clock.metrics(comm, 2.0 + comm.rank, comm.rank)  # collective
    num = comm.world_size
    waits = [1.0 + 2 * rank for rank in range(num - 1)] + [0.5]
    assert metrics["slowest_rank"] == num - 1
    assert metrics["communication_seconds"] == pytest.approx(sum(waits) / num)
    assert metrics["waiting_seconds"] == pytest.approx(sum(waits) / num - 0.5)
    assert metrics["busy_max"] == pytest.approx(1 - 0.5 / 10)
    assert metrics["busy_min"] == pytest.approx(1 - max(waits) / 10)
    assert metrics["engine_seconds"] == pytest.approx(2 + (num - 1) / 2)
    assert metrics["restarted_envs"] == sum(range(num))
    assert metrics["memory_mebibytes"] >= metrics["largest_rank_mebibytes"] > 0
