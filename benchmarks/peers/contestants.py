"""Who is compared with whom: each contestant's command line, and how to read what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peers.shapes import Shape

ROOT = Path(__file__).resolve().parents[2]
WORKERS = Path(__file__).with_name("workers")
THROUGHPUT = ROOT / "benchmarks" / "throughput.py"


@dataclass(frozen=True)
class Contestant:
    """One row of each shape's table."""

    name: str
    kind: str
    """``training``, or ``engine``: environments alone, with random actions."""
    is_ours: bool
    num_processes: int = 1
    """As many cores it gets."""


CONTESTANTS = (
    Contestant("stable-baselines3", "training", is_ours=False),
    Contestant("ppo_mpi", "training", is_ours=True),
    Contestant("ppo_mpi, 2 ranks", "training", is_ours=True, num_processes=2),
    Contestant("stable-baselines3", "engine", is_ours=False),
    Contestant("ppo_mpi", "engine", is_ours=True),
)


def command_line(
    contestant: Contestant, shape: Shape, iterations: int, peer_python: str, result: Path
) -> list[str]:
    """Return the words that start a contestant.

    Args:
        contestant: which.
        shape: the task.
        iterations: measured ones; one more comes before them.
        peer_python: interpreter that has stable-baselines3.
        result: file that the process writes, JSON.
    """
    python = sys.executable if contestant.is_ours else peer_python
    if contestant.kind == "engine":
        words = [python, str(WORKERS / "engine.py")]
        words += ["--library", "ppo_mpi" if contestant.is_ours else "stable-baselines3"]
    elif contestant.is_ours:
        words = [python, str(THROUGHPUT), "--env", f"gym:{shape.env}", "--preset", "gym-control"]
        words += ["--ranks", str(contestant.num_processes), "--threads", "1", "--warmup", "1"]
        words += ["--iterations", str(iterations), "--json", str(result)]
        # precision=auto is float32 at its fastest for vectors, bfloat16 for images where the
        # processor has it; float32 asks for exact bits.
        return [*words, "--device", "cpu", "--precision", "auto", *shape.train_words()]
    else:
        words = [python, str(WORKERS / "training.py")]
    words += ["--shape", shape.to_json(), "--iterations", str(iterations), "--json", str(result)]
    return words


def seconds_of(contestant: Contestant, content: str) -> list[float]:
    """Return the seconds of each measured iteration.

    Args:
        contestant: who wrote it.
        content: of the result file.
    """
    measured = json.loads(content)
    if contestant.is_ours and contestant.kind == "training":
        return [iteration["seconds"] for iteration in measured["results"][-1]["iterations"]]
    return [float(seconds) for seconds in measured["seconds"]]


def run(contestant: Contestant, shape: Shape, iterations: int, peer_python: str) -> list[float]:
    """Let a contestant take its turn on cores of its own; return the seconds of each iteration.

    What it prints is shown only if it fails, which ends the program with its status.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        words = command_line(contestant, shape, iterations, peer_python, result)
        done = subprocess.run(
            words,
            cwd=folder,  # MuJoCo writes its warnings to a file where it is started
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=pinning(contestant.num_processes),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
            print(f"peers: error: {contestant.name} ({contestant.kind}) failed", file=sys.stderr)
            sys.exit(done.returncode)
        return seconds_of(contestant, result.read_text(encoding="utf-8"))


def cores() -> list[int]:
    """Return the cores that this process may use; [] where the system cannot pin to them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pinning(num_processes: int) -> Callable[[], None] | None:
    """Return what a new process does first: stay on the last cores, as many as it has processes.

    All ranks of a job share its cores; the system spreads them, as it does for the user's jobs.
    """
    own = cores()[-num_processes:]
    return (lambda: os.sched_setaffinity(0, own)) if own else None
