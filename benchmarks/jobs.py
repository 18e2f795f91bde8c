"""Starts the jobs that are measured, plain or under mpirun, and brings back what they found.

A script starts itself once more on every rank: ``script --worker FOLDER``. The folder holds the
request; rank 0 leaves the result there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppo_mpi.distributed.communicator import Communicator

# More ranks than cores, and root, are fine with MPICH; Open MPI has to be told (versions 4 and 5).
LAUNCHER_SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
WORKER = "--worker"


@dataclass(frozen=True)
class Request:
    """What every rank of a job is asked to do."""

    ranks: int
    """How many processes."""
    train_words: tuple[str, ...]
    """A command line of ``train``."""
    iterations: int = 0
    """To measure."""
    warmup: int = 0
    """Iterations before those."""
    launched: float = 0.0
    """Seconds by ``time.perf_counter``, one clock for all processes of a machine."""


def run_job(script: str, request: Request) -> dict[str, Any]:
    """Run one job and return what its rank 0 found; if it fails, leave with its exit status.

    Args:
        script: path of the script whose workers do it.
        request: ``launched`` is filled in here.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [str(Path(script).resolve()), WORKER, folder]
        command = [*launcher(request.ranks), *words]
        request = replace(request, launched=time.perf_counter())
        (Path(folder) / "request.json").write_text(json.dumps(asdict(request)), encoding="utf-8")
        done = subprocess.run(command, env=worker_environment(os.environ), check=False)
        if done.returncode:
            sys.exit(done.returncode)
        result = (Path(folder) / "result.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(result)
    return found


def launcher(ranks: int) -> list[str]:
    """Return the words before the script's name: Python, under mpirun if there are several."""
    if ranks == 1:
        return [sys.executable]
    # mpi4py's runner ends the whole job when a rank fails.
    return [find_mpirun(), "-np", str(ranks), sys.executable, "-m", "mpi4py"]


def find_mpirun() -> str:
    """Return the launcher beside this Python, else the one on the path."""
    beside_python = Path(sys.executable).with_name("mpirun")
    found = str(beside_python) if beside_python.exists() else shutil.which("mpirun")
    if found is None:
        sys.exit(f'{program()}: error: no mpirun; pip install "ppo_mpi[mpich]"')
    return found


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a worker: those of the caller, who may set OMP_NUM_THREADS.

    Threads are counted by the program itself, as in training; nothing is said of them here.
    """
    return LAUNCHER_SETTINGS | dict(environ)


def program() -> str:
    """Return the name of the running script, for messages."""
    return Path(sys.argv[0]).stem


def is_worker() -> bool:
    """Return whether ``run_job`` started this process."""
    return sys.argv[1:2] == [WORKER]


def serve(work: Callable[[Request], dict[str, Any] | None]) -> int:
    """Be one rank of a job and return the exit status. Collective.

    Args:
        work: gets the request; returns the result on rank 0, None elsewhere.
    """
    folder = Path(sys.argv[2])
    request = Request(**json.loads((folder / "request.json").read_text(encoding="utf-8")))
    result = work(replace(request, train_words=tuple(request.train_words)))
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return 0


def join(ranks: int) -> Communicator:
    """Return the job's communicator. Collective.

    Raises:
        RuntimeError: it has another number of ranks.
    """
    from ppo_mpi.distributed.communicator import connect

    comm = connect()  # collective
    if comm.world_size != ranks:
        raise RuntimeError(
            f"{comm.world_size} ranks found each other, not {ranks}; python -m ppo_mpi doctor "
            "examines the MPI library"
        )
    return comm
