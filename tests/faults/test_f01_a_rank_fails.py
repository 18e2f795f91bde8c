"""A rank that fails, in whatever way and place, ends the whole job at once, with its own words."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from fault_jobs import ENDLESS, FaultyJob
from wheels import WHEELS

RANKS = 3
SECONDS = 5.0
KINDS = ("exception", "exit-0", "exit-3", "interrupt", "memory")
NTH = {"importing": 1, "collecting": 200, "updating": 20, "saving": 2, "logging": 4}
SAMPLE = {
    ("mpich", "exception", "importing", 0), ("openmpi", "exception", "importing", 2),
    ("mpich", "exit-0", "collecting", 2), ("openmpi", "exit-0", "updating", 0),
    ("mpich", "exit-3", "saving", 0), ("openmpi", "memory", "logging", 2),
    ("mpich", "interrupt", "updating", 2),
}  # fmt: skip
CASES = [
    pytest.param(*case, marks=() if case in SAMPLE else pytest.mark.faults)
    for case in itertools.product(WHEELS, KINDS, NTH, (0, RANKS - 1))
]


@pytest.mark.parametrize(("wheel", "kind", "place", "rank"), CASES)
def test_the_whole_job_is_gone_and_the_rank_has_said_why(
    wheel: str, kind: str, place: str, rank: int, tmp_path: Path
):
    fault = f"{kind} {place} {rank} {NTH[place]}"
    job = FaultyJob(tmp_path, wheel, RANKS, "train", *ENDLESS, fault=fault)
    status, told = job.ended(job.wait_for_mark(), SECONDS)
    assert status != 0, told
    # Ctrl-C is what the user did: a word, no traceback.
    words = {"exception": "RuntimeError: built-in fault", "exit-0": "SystemExit: 0",
             "exit-3": "SystemExit: 3", "memory": "MemoryError: built-in fault",
             "interrupt": "ppo_mpi: interrupted"}[kind]  # fmt: skip
    assert told.count(words) == 1, told
    assert told.count("Traceback (most recent call last)") == (kind != "interrupt"), told
    job.check_disk()
    if place == "logging":
        assert any(job.run_dir.glob("step-*"))
