"""What the ranks spent an iteration's time on; on as many ranks as this test is run on."""

from __future__ import annotations

import math
import subprocess
import sys

from ppo_mpi.distributed import iteration_clock
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.iteration_clock import CLOCK_COLUMNS, IterationClock, resident_mebibytes


def test_an_iteration_s_times_lie_within_each_other(monkeypatch):
    now = [10.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    comm, clock = Communicator(), IterationClock()
    for between in (0.0, 7.0):
        now[0] += between
        clock.start(comm.seconds)
        now[0] += 3.0
        clock.collected()
        now[0] += 5.0
        comm.seconds += 2.0
        metrics = clock.metrics(comm, 1.5, 4)
        assert metrics["collect_seconds"] == 3.0
        assert metrics["engine_seconds"] == 1.5
        assert metrics["update_seconds"] == 5.0
        assert metrics["communication_seconds"] == 2.0
        assert metrics["waiting_seconds"] == 0.0
        assert metrics["between_seconds"] == between
        assert metrics["busy_min"] == metrics["busy_max"] == 0.75
        assert metrics["restarted_envs"] == 4
        assert metrics.keys() == {*CLOCK_COLUMNS, "restarted_envs"}


def test_memory_is_counted_with_worker_processes():
    alone = resident_mebibytes()
    assert 10 < alone < 1e5
    child = subprocess.Popen(
        [sys.executable, "-c", "big = bytearray(b'1' * 2**28); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert resident_mebibytes() - alone > 200
    finally:
        child.communicate(b"\n")


def test_memory_is_unknown_where_the_system_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(iteration_clock, "_PROC", tmp_path / "self")
    assert math.isnan(resident_mebibytes())


def test_nothing_is_divided_by_zero(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 1.0)
    comm, clock = Communicator(), IterationClock()
    clock.start(comm.seconds)
    clock.collected()
    assert clock.metrics(comm, 0.0, 0)["busy_min"] == 1.0
