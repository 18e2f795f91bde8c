"""What all tests share: the job that they run in, and the end of it when one rank fails.

The tests of ``tests/mpi`` and ``tests/learning`` that take ``comm`` run on any number of ranks:
plain ``pytest`` runs them on one, ``python tests/on_ranks.py 2 tests/mpi`` on two. Tests that do
not take it would do the same on every rank; on several ranks they are left out. Without ranks,
``pytest -n 2`` runs two at a time, as ``scheduler`` hands them out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jobs import end_started_jobs
from on_ranks import LAUNCHER_SETTINGS

if TYPE_CHECKING:
    from ppo_mpi.distributed.communicator import Communicator

# Before torch is imported, and for every process that a test starts: small tests lose by threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _name, _value in LAUNCHER_SETTINGS.items():
    os.environ.setdefault(_name, _value)

LEARNED_TOGETHER = ("test_cartpole.py", "test_probes.py")
"""Files of tests/learning that several ranks run as well. Of what the others learn, tests/mpi shows
that ranks come to the bits of one: to learn it once more would tell nothing."""
HANG_TIMEOUT_SECONDS = 120.0
"""Longest wait for another rank; less than the time limit of a test."""
SECONDS_FOR_ROOT = 1.0
"""How long other ranks hold back a failure, so that one common to all is shown by rank 0."""


class _Job:
    """The communicator, once joined."""

    comm: Communicator | None = None

    @classmethod
    def join(cls) -> Communicator:
        """Return the job's communicator; join it at the first call. Collective."""
        if cls.comm is None:
            from ppo_mpi.distributed.communicator import connect

            cls.comm = connect(HANG_TIMEOUT_SECONDS)  # collective
        return cls.comm


@pytest.fixture(scope="session")
def comm() -> Communicator:
    """Return the communicator of the job that pytest was started in: one rank, or several."""
    return _Job.join()


@pytest.fixture(autouse=True)
def no_job_outlives_its_test() -> Iterator[None]:
    """End what a test has started and, failing, not waited for."""
    yield
    end_started_jobs()


@pytest.fixture
def shared_tmp_path(comm: Communicator, tmp_path: Path) -> Path:
    """Return one empty folder for all ranks: rank 0's ``tmp_path``. Collective."""
    path: Path = comm.broadcast_object(tmp_path)  # collective
    return path


def _is_launched() -> bool:
    from ppo_mpi.distributed.guard import launched_rank

    return launched_rank(os.environ) is not None


def _parameters(item: pytest.Item) -> dict[str, Any]:
    """Return what a test is parametrized with."""
    return getattr(getattr(item, "callspec", None), "params", {})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests for pytest-xdist's workers; leave out what several ranks need not repeat.

    Several ranks keep the tests that take ``comm``, and of those that are run with several seeds
    the first: all seeds are run on one rank, and others are no other communication. Of those that
    learn, a few are enough.
    """
    if hasattr(config, "workerinput"):  # one of pytest-xdist's workers
        from scheduler import order

        items.sort(key=lambda item: order(item.nodeid))
    if not _is_launched():
        return
    kept = [
        item
        for item in items
        if "comm" in getattr(item, "fixturenames", ())
        and not _parameters(item).get("seed", 0)
        and (item.path.parent.name != "learning" or item.path.name in LEARNED_TOGETHER)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Let ``pytest -n 2`` hand out tests as ``scheduler`` says."""
    from scheduler import ByFile

    config.option.loadscopereorder = False  # the order is that of the tests
    return ByFile(config, log)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Let ``pytest -n auto`` start as many workers as ``scheduler`` says."""
    from scheduler import number_of_workers

    return number_of_workers()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """End the job when a test fails on this rank: the others may wait for it in a collective."""
    job = _Job.comm
    if not report.failed or job is None or job.world_size == 1:
        return
    if not job.is_root:
        time.sleep(SECONDS_FOR_ROOT)
    lines = [f"\nFAILED on rank {job.rank} of {job.world_size}: {report.nodeid} ({report.when})"]
    lines += [report.longreprtext]
    lines += [f"--- {title}\n{text}" for title, text in report.sections]
    print("\n".join(lines), flush=True)
    job.abort(1)
