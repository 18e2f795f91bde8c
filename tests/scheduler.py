"""Which of pytest-xdist's workers runs which tests, and in which order.

What belongs together stays on one worker: the tests of a file, which share what its fixtures have
trained, the commands of a page of the documentation, and everything of ``tests/cluster``, which
shares one Slurm. What takes long begins first, so that no worker is left with it at the end.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/cluster/",)
"""Folders that one worker runs."""
BY_PAGE = "tests/docs/test_commands.py"
"""A file whose tests are those of many pages; what belongs together is a page."""
LONG_FIRST = ("tests/cluster/", "tests/faults/", "tests/docs/", "tests/mpi/", "tests/learning/",
              "tests/suites/", "tests/unit/test_")  # fmt: skip
"""What takes longest, in this order; the rest follows."""


class ByFile(LoadScopeScheduling):
    """Hands out files, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        together = next((folder for folder in TOGETHER if nodeid.startswith(folder)), None)
        if nodeid.startswith(BY_PAGE):
            return nodeid.rpartition(":")[0]  # behind it stands the line of the page
        return together or nodeid.split("::", 1)[0]


def order(nodeid: str) -> int:
    """Return a key that sorts a test behind those that take longer."""
    places = [i for i, start in enumerate(LONG_FIRST) if nodeid.startswith(start)]
    return places[0] if places else len(LONG_FIRST)
