"""Measures training: timesteps per second of the whole loop, and of collecting and updating apart.

    python benchmarks/throughput.py --ranks 1,2 --iterations 6 --json throughput.json

It starts each job by itself: one rank as a plain process, several under mpirun. Several rank
counts take turns, so that what else the machine does falls on all of them. An iteration is all
that ``train`` does between two lines of its log: collect a rollout and learn from it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppo_mpi.__main__ import silence_libraries  # noqa: E402
from ppo_mpi.cli import Command, parse_command  # noqa: E402
from ppo_mpi.errors import ConfigError  # noqa: E402

# More ranks than cores, and root, are fine with MPICH; Open MPI has to be told (versions 4 and 5).
LAUNCHER_SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
ROUNDS = 3
"""How often several rank counts take turns, if there are as many iterations."""
PARTS = ("collect", "update", "communication")


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    options, words = parse_options(sys.argv[1:])
    train_words = ["train", options.env, "--preset", options.preset]
    train_words += ["--precision", options.precision, *words]
    try:
        command = parse_command(train_words)
        command.config.validate(max(options.ranks))
    except ConfigError as error:
        print(f"throughput: error: {error}", file=sys.stderr)
        return 2
    if options.worker:
        measure(command, options)
        return 0
    load = os.getloadavg()
    jobs: dict[int, list[dict[str, Any]]] = {ranks: [] for ranks in options.ranks}
    for share in shares(options.iterations, options.rounds):
        for ranks in options.ranks:
            jobs[ranks].append(start_job(ranks, share, train_words[1:], options))
    results = [summarize(ranks, jobs[ranks]) for ranks in options.ranks]
    print(table(results))
    if options.json:
        machine = jobs[options.ranks[-1]][-1]["machine"]
        machine |= {"command": " ".join(sys.argv), "load_before": load}
        write_json(options.json, results, machine)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = argparse.ArgumentParser(
        description="Measures timesteps per second of training.",
        epilog="All other options are settings of train, for example --num-envs 128.",
        allow_abbrev=False,
    )
    parser.add_argument("--ranks", type=rank_counts, default=[1], help="such as 2, or 1,2,4")
    parser.add_argument("--iterations", type=positive, default=5, help="measured, for each count")
    parser.add_argument("--warmup", type=int, default=1, help="iterations before those (1)")
    parser.add_argument("--rounds", type=positive, help="how often several counts take turns (3)")
    parser.add_argument("--env", default="coinrun")
    parser.add_argument("--preset", default="procgen-easy", help="gives the shapes (procgen-easy)")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--json", type=Path, help="file for timesteps_per_second and all else")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options, words = parser.parse_known_args(argv)
    if options.rounds is None:
        options.rounds = ROUNDS if len(options.ranks) > 1 else 1
    return options, words


def positive(text: str) -> int:
    """Read a number from 1 on."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def rank_counts(text: str) -> list[int]:
    """Read numbers of ranks, separated by commas."""
    return [positive(part) for part in text.split(",")]


def shares(iterations: int, rounds: int) -> list[int]:
    """Deal the iterations to the rounds; every round has one at least."""
    rounds = min(rounds, iterations)
    return [iterations // rounds + (i < iterations % rounds) for i in range(rounds)]


def start_job(
    ranks: int, iterations: int, train_words: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Run one job and return what it measured.

    Args:
        ranks: how many processes.
        iterations: measured ones.
        train_words: environment and settings.
        options: of this program.
    """
    env_word, *settings = train_words
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        words = [str(Path(__file__).resolve()), "--worker", str(result), "--env", env_word]
        words += ["--iterations", str(iterations), "--warmup", str(options.warmup)]
        words += ["--ranks", str(ranks), *settings]
        if ranks == 1:
            launch = [sys.executable]
        else:
            # mpi4py's runner ends the whole job when a rank fails.
            launch = [find_mpirun(), "-np", str(ranks), sys.executable, "-m", "mpi4py"]
        done = subprocess.run([*launch, *words], env=LAUNCHER_SETTINGS | os.environ, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return measured


def find_mpirun() -> str:
    """Return the launcher beside this Python, else the one on the path."""
    beside_python = Path(sys.executable).with_name("mpirun")
    found = str(beside_python) if beside_python.exists() else shutil.which("mpirun")
    if found is None:
        sys.exit('throughput: error: no mpirun; pip install "ppo_mpi[mpich]"')
    return found


def measure(command: Command, options: argparse.Namespace) -> None:
    """Be one rank of a job: run iterations; rank 0 writes what they took. Collective."""
    silence_libraries()
    import torch

    from ppo_mpi.build import build_run
    from ppo_mpi.distributed.communicator import connect
    from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
    from ppo_mpi.modes.train import run_iteration
    from ppo_mpi.storage.system_info import system_info

    comm = connect()  # collective
    if comm.world_size != options.ranks[0]:
        raise RuntimeError(f"{comm.world_size} ranks found each other, not {options.ranks[0]}")
    config = command.config
    keep_big_blocks()
    threads = set_threads(config.job.threads, comm.node_affinities, comm.local_rank)
    run = build_run(config, comm)  # collective
    iterations = []
    for i in range(options.warmup + options.iterations):
        comm.barrier()  # collective
        start = time.perf_counter()
        metrics, _ = run_iteration(run, config, comm)  # collective
        seconds = {"seconds": time.perf_counter() - start}
        seconds |= {f"{part}_seconds": metrics[f"{part}_seconds"] for part in PARTS}
        if i >= options.warmup:
            iterations.append(seconds)
    machine = system_info(comm)  # collective
    device, precision = run.collector.actor.device, run.model.precision
    run.close()
    if comm.is_root:
        measured = {
            "timesteps_per_iteration": config.learning.rollout_timesteps,
            "threads": threads,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "precision": str(precision).removeprefix("torch."),
            "iterations": iterations,
            "machine": machine,
        }
        options.worker.write_text(json.dumps(measured), encoding="utf-8")


def summarize(ranks: int, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians and the spread over all iterations of all jobs of one rank count."""
    iterations = [iteration for job in jobs for iteration in job["iterations"]]
    timesteps = jobs[0]["timesteps_per_iteration"]
    speeds = sorted(timesteps / iteration["seconds"] for iteration in iterations)
    median = statistics.median(speeds)
    result = {
        "ranks": ranks,
        "threads": jobs[0]["threads"],
        "device": jobs[0]["device"],
        "precision": jobs[0]["precision"],
        "timesteps_per_second": median,
        "timesteps_per_second_and_rank": median / ranks,
        "slowest": speeds[0],
        "fastest": speeds[-1],
        "spread": (speeds[-1] - speeds[0]) / median,
        "timesteps_per_iteration": timesteps,
        "iterations": iterations,
    }
    for part in PARTS:
        seconds = statistics.median(iteration[f"{part}_seconds"] for iteration in iterations)
        result[f"{part}_seconds"] = seconds
        if part != "communication":
            result[f"{part}_timesteps_per_second"] = timesteps / seconds if seconds else math.inf
    return result


def table(results: list[dict[str, Any]]) -> str:
    """Return the results for the console: medians, timesteps per second of the whole job."""
    lines = [
        "ranks threads precision  timesteps/s (slowest - fastest)"
        "    a rank   collect    update  waiting"
    ]
    for r in results:
        waiting = r["communication_seconds"] / (r["collect_seconds"] + r["update_seconds"])
        lines.append(
            f"{r['ranks']:5} {r['threads']:7} {r['precision']:9} "
            f"{r['timesteps_per_second']:12,.0f} "
            f"{'({slowest:,.0f} - {fastest:,.0f})'.format(**r):19} "
            f"{r['timesteps_per_second_and_rank']:9,.0f} "
            f"{r['collect_timesteps_per_second']:9,.0f} "
            f"{r['update_timesteps_per_second']:9,.0f} {waiting:8.1%}"
        )
    return "\n".join(lines)


def write_json(path: Path, results: list[dict[str, Any]], machine: dict[str, Any]) -> None:
    """Write everything; ``timesteps_per_second`` at the top is that of the last rank count."""
    content = {
        "timesteps_per_second": results[-1]["timesteps_per_second"],
        "ranks": results[-1]["ranks"],
        "results": results,
        "machine": machine,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
