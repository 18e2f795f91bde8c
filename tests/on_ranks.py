"""Runs tests on several ranks: ``python tests/on_ranks.py 2 tests/mpi [pytest's options]``.

Every rank runs the same pytest. Rank 0 prints as usual; what the others print goes to files that
are shown if the job fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT_SECONDS = 900
"""Of the whole job: a hang that no rank noticed itself ends here."""
SHOWN_LINES = 200
"""Of each rank's output, the last ones, after a failure."""

# What lets a launcher start more ranks than cores, as root too, and lets waiting ranks leave their
# core to others. MPICH needs none of it; these are for Open MPI, version 5 and before.
LAUNCHER_SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}


def find_mpirun() -> str | None:
    """Return the launcher beside this Python, else the one on the path, else None."""
    beside_python = Path(sys.executable).with_name("mpirun")
    return str(beside_python) if beside_python.exists() else shutil.which("mpirun")


def launch(num_ranks: str, arguments: list[str]) -> int:
    """Run pytest under mpirun and return its exit status.

    Args:
        num_ranks: how many.
        arguments: pytest's.
    """
    mpirun = find_mpirun()
    if mpirun is None:
        print("no mpirun beside this Python or on the path: pip install mpich", file=sys.stderr)
        return 2
    environ = LAUNCHER_SETTINGS | {"OMP_NUM_THREADS": "1"} | os.environ
    with tempfile.TemporaryDirectory(prefix="ppo_mpi_ranks_") as folder:
        this_file = str(Path(__file__).resolve())
        rank_command = [sys.executable, this_file, "--output", folder, *arguments]
        command = [mpirun, "-np", num_ranks, *rank_command]
        job = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL)
        try:
            status = job.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            job.terminate()
            status = 124
            print(f"{num_ranks} ranks were not done after {TIMEOUT_SECONDS} s", file=sys.stderr)
        finally:
            _end(job)
        if status:
            for path in sorted(Path(folder).iterdir()):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                print(f"===== {path.stem}, its last lines =====", file=sys.stderr)
                print("\n".join(lines[-SHOWN_LINES:]), file=sys.stderr)
    return status


def _end(job: subprocess.Popen[bytes]) -> None:
    """Leave no launcher behind, whatever happens here."""
    try:
        job.wait(10)
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait()


def be_a_rank(folder: str, arguments: list[str]) -> int:
    """Run pytest in this process, a rank that mpirun started, and return its exit status.

    Args:
        folder: where the other ranks than 0 print to.
        arguments: pytest's.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import pytest

    from ppo_mpi.distributed.guard import launched_rank

    rank = launched_rank(os.environ) or 0
    if rank:
        path = Path(folder) / f"rank_{rank:03d}.txt"
        output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
    # One cache for all ranks would be written by all at once.
    return int(pytest.main(["-p", "no:cacheprovider", *arguments]))


def main() -> int:
    """Launch the ranks, or be one of them."""
    words = sys.argv[1:]
    if len(words) > 1 and words[0] == "--output":
        return be_a_rank(words[1], words[2:])
    if not words or not words[0].isdigit():
        print("usage: python tests/on_ranks.py RANKS [pytest's words]", file=sys.stderr)
        return 2
    return launch(words[0], words[1:])


if __name__ == "__main__":
    sys.exit(main())
