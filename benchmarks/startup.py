"""Measures how long a job takes to begin: from its launch until the first iteration could start.

    python benchmarks/startup.py --ranks 1,2,8 --env coinrun,maze,CartPole-v1 --repeats 3

A phase ends when the last rank has come through it:

    launch   until the process exists, to 0.01 s: the launcher's part
    imports  Python, torch and the package
    connect  the MPI library, and the ranks find each other
    build    environments, network, the first broadcast, the choice of a microbatch

Each environment has its own preset unless --preset names one. What ``train`` does in the run's
folder in between is not in it. Jobs take turns, so that what else the machine does falls on all;
the first one may read the libraries from the disk.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import load_before, write_figures
from benchmarks.jobs import Request, is_worker, join, program, run_job, serve
from benchmarks.options import names, new_parser, positive, rank_counts
from benchmarks.process_age import seconds_since_start
from benchmarks.spread import spread_of
from ppo_mpi.__main__ import silence_libraries
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError

PHASES = ("launch", "imports", "connect", "build")

Job = tuple[str, int]
"""Environment and ranks."""


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    if is_worker():
        return serve(measure)
    options, words = parse_options(sys.argv[1:])
    try:
        for env in options.env:
            parse_command(("train", env, *words)).config.validate(max(options.ranks))
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    load = load_before()
    starts: dict[Job, list[dict[str, float]]] = {
        (env, ranks): [] for env in options.env for ranks in options.ranks
    }
    machine: dict[str, Any] = {}
    for _ in range(options.repeats):
        for env, ranks in starts:
            found = run_job(__file__, Request(ranks, ("train", env, *words)))
            starts[env, ranks].append(found["phases"])
            machine = found["machine"]
    results = [summarize(env, ranks, phases) for (env, ranks), phases in starts.items()]
    print(table(results))
    if options.json:
        write_figures(options.json, {"results": results}, machine, load)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Measures the seconds from a launch to the first iteration.")
    envs = "coinrun,maze,CartPole-v1"
    parser.add_argument("--ranks", type=rank_counts, default=[1, 2, 8], help="such as 1,2,8")
    parser.add_argument("--env", type=names, default=names(envs), help=f"names ({envs})")
    parser.add_argument("--repeats", type=positive, default=3, help="launches of each job (3)")
    parser.add_argument("--json", type=Path, help="file for the figures and the machine's data")
    return parser.parse_known_args(argv)


def measure(request: Request) -> dict[str, Any] | None:
    """Be one rank of a job that begins; rank 0 returns when all were how far. Collective."""
    started = time.perf_counter() - seconds_since_start()
    silence_libraries()
    from ppo_mpi.build import build_run
    from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
    from ppo_mpi.modes import train  # noqa: F401  # it imports all that training needs
    from ppo_mpi.storage.system_info import system_info

    config = parse_command(request.train_words).config
    marks = [started, time.perf_counter()]
    comm = join(request.ranks)  # collective
    marks.append(time.perf_counter())
    keep_big_blocks()
    set_threads(config.job.threads, comm.node_affinities, comm.local_rank)
    run = build_run(config, comm)  # collective
    marks.append(time.perf_counter())
    by_rank = comm.gather_objects(marks)  # collective
    machine = system_info(comm)  # collective
    run.close()
    if by_rank is None:
        return None
    return {"phases": phases_of(request.launched, by_rank), "machine": machine}


def phases_of(launched: float, by_rank: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the seconds of each phase; their sum is the time until the last rank was ready.

    Args:
        launched: seconds by the clock of this machine.
        by_rank: for each rank, the end of each phase by the same clock.
    """
    phases = {}
    before = launched
    for phase, ends in zip(PHASES, zip(*by_rank, strict=True), strict=True):
        # Linux tells the start of a process in hundredths of a second: it may seem too early.
        end = max(before, *ends)
        phases[phase] = end - before
        before = end
    return phases


def summarize(env: str, ranks: int, starts: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the medians and the spread over all launches of one job, in seconds."""
    total = spread_of(sum(phases.values()) for phases in starts)
    return {
        "env": env,
        "ranks": ranks,
        "seconds": total.median,
        "fastest": total.smallest,
        "slowest": total.largest,
        "phases": {phase: spread_of(p[phase] for p in starts).median for phase in PHASES},
        "starts": list(starts),
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the results for the console: medians, in seconds."""
    heads = " ".join(f"{phase:>8}" for phase in PHASES)
    lines = [f"env              ranks  seconds (fastest - slowest) {heads}"]
    for r in results:
        spread = f"({r['fastest']:.2f} - {r['slowest']:.2f})"
        phases = " ".join(f"{r['phases'][phase]:8.2f}" for phase in PHASES)
        lines.append(f"{r['env']:16} {r['ranks']:5} {r['seconds']:8.2f} {spread:19} {phases}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
