"""What pytest-xdist's workers are given, and in which order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import PATIENCE, allowed, job_environment

pytest.importorskip("xdist")

from scheduler import ByFile, next_unit, number_of_workers, order

FILE = """
import os
import pytest
@pytest.mark.parametrize("number", range(4))
def test_where(number):
    assert os.environ["PYTEST_XDIST_WORKER"]
"""
CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"


def test_what_takes_long_begins_first():
    names = ["tests/unit/envs/test_a.py::b", "tests/learning/test_a.py::b[0]",
             "tests/unit/test_a.py::b", "tests/cluster/test_z.py::b", "tests/faults/test_b.py::c",
             "tests/unit/envs/test_0.py::b"]  # fmt: skip
    assert sorted(names, key=order) == [names[i] for i in (3, 4, 1, 2, 0, 5)]


def test_one_worker_at_a_time_has_tests_that_wait_as_long_as_there_is_a_choice():
    units = dict.fromkeys(["tests/cluster/", "tests/faults/test_a.py", "tests/mpi/test_b.py",
                           "tests/unit/test_c.py"])  # fmt: skip
    assert next_unit(units, may_wait=True) == "tests/cluster/"
    assert next_unit(units, may_wait=False) == "tests/mpi/test_b.py"
    waiting = dict.fromkeys(list(units)[:2])
    assert next_unit(waiting, may_wait=False) == "tests/cluster/"
    working = dict.fromkeys(list(units)[2:])
    assert next_unit(working, may_wait=True) == "tests/mpi/test_b.py"


def test_there_is_one_worker_more_than_cores():
    assert number_of_workers() == len(os.sched_getaffinity(0)) + 1


def test_the_commands_of_a_page_stay_together_and_pages_do_not():
    def unit(line: str) -> str:
        return ByFile._split_scope(None, f"tests/docs/test_commands.py::test_it[{line}]")

    assert unit("docs/a.md:7") == unit("docs/a.md:19") != unit("docs/b.md:7")


def test_a_file_and_a_cluster_stay_on_one_worker(tmp_path: Path):
    folders = {"tests/cluster": 2, "tests/faults": 2, "tests/unit": 3}
    for folder, files in folders.items():
        (tmp_path / folder).mkdir(parents=True)
        for number in range(files):
            (tmp_path / folder / f"test_{number}.py").write_text(FILE)
    tests = CONFTEST.parent
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {tests.parent} {tests}\n")
    words = ["-n", "2", "-v", "--import-mode=importlib", "tests"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=tmp_path, env=job_environment(),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    workers: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        if "PASSED" in line:
            worker, file = line.split()[0], line.split()[-1].split("::")[0]
            unit = "tests/cluster" if file.startswith("tests/cluster") else file
            workers.setdefault(unit, set()).add(worker)
    assert len(workers) == 1 + 2 + 3
    assert all(len(found) == 1 for found in workers.values()), workers
    assert set.union(*workers.values()) == {"[gw0]", "[gw1]"}


def test_limits_are_as_promised_where_one_test_runs_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    assert allowed(5) == 5
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    assert allowed(5) == 5 * PATIENCE
