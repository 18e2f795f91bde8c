"""Which of pytest-xdist's workers runs which tests, and in which order.

What belongs together stays on one worker: the tests of a file, which share what its fixtures have
trained, the commands of a page of the documentation, and everything of ``tests/cluster``, which
shares one Slurm. What takes long begins first, so that no worker is left with it at the end.

Some tests mostly wait, for a time limit, a preemption or a killed launcher's ranks. There is one
worker more than cores, and one worker at a time is given such tests as long as there are any, so
that the others have the cores.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/cluster/",)
"""Folders that one worker runs."""
BY_PAGE = "tests/docs/test_commands.py"
"""A file whose tests are those of many pages; what belongs together is a page."""
WAITING = ("tests/cluster/", "tests/faults/")
"""Folders of which tests wait most of their time."""
LONG_FIRST = ("tests/cluster/", "tests/faults/", "tests/docs/", "tests/mpi/", "tests/learning/",
              "tests/suites/", "tests/unit/test_")  # fmt: skip
"""What takes longest, in this order; the rest follows."""


class ByFile(LoadScopeScheduling):
    """Hands out files, in the order in which they were collected; to one worker those that wait."""

    def _split_scope(self, nodeid: str) -> str:
        together = next((folder for folder in TOGETHER if nodeid.startswith(folder)), None)
        if nodeid.startswith(BY_PAGE):
            return nodeid.rpartition(":")[0]  # behind it stands the line of the page
        return together or nodeid.split("::", 1)[0]

    def _assign_work_unit(self, node: Any) -> None:
        is_waited = any(
            waits(scope) and self._pending_of({scope: tests})
            for other, units in self.assigned_work.items()
            for scope, tests in units.items()
            if other is not node
        )
        self.workqueue.move_to_end(next_unit(self.workqueue, not is_waited), last=False)
        super()._assign_work_unit(node)


def waits(scope: str) -> bool:
    """Return whether the tests of a file or folder wait most of their time."""
    return scope.startswith(WAITING)


def next_unit(units: Mapping[str, object], may_wait: bool) -> str:
    """Return which of the units that are left a worker is to have.

    Args:
        units: what is left, in order; not empty.
        may_wait: whether no other worker has tests that wait: it is given such then, and else
            not, as long as there is a choice.
    """
    return next((unit for unit in units if waits(unit) == may_wait), next(iter(units)))


def order(nodeid: str) -> int:
    """Return a key that sorts a test behind those that take longer."""
    places = [i for i, start in enumerate(LONG_FIRST) if nodeid.startswith(start)]
    return places[0] if places else len(LONG_FIRST)


def number_of_workers() -> int:
    """Return how many workers ``-n auto`` is: one more than this process may use cores."""
    can_tell = hasattr(os, "sched_getaffinity")
    return 1 + (len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1)
