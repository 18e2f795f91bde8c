"""Speed of training: what one rank of a measured job does, and what its iterations amount to.

An iteration is all that ``train`` does between two lines of its log: collect a rollout and learn
from it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.jobs import Request, join, run_job
from benchmarks.options import shares
from benchmarks.spread import spread_of
from ppo_mpi.__main__ import silence_libraries
from ppo_mpi.cli import parse_command

PARTS = ("collect", "update", "communication")

Job = tuple[int, tuple[str, ...]]
"""Ranks, and the command line of ``train``."""


def measure_in_turns(
    script: str, jobs: Sequence[Job], iterations: int, warmup: int, rounds: int
) -> dict[Job, list[dict[str, Any]]]:
    """Run jobs in turns, so that what else the machine does falls on all of them.

    Args:
        script: the caller, whose workers run ``measure``.
        jobs: one that is given twice is run once.
        iterations: measured, of each.
        warmup: before those, in each round.
        rounds: of turns; fewer if there are fewer iterations.

    Returns:
        what ``measure`` returned, for each job and round.
    """
    found: dict[Job, list[dict[str, Any]]] = {job: [] for job in jobs}
    for share in shares(iterations, rounds):
        for job in found:
            ranks, words = job
            found[job].append(run_job(script, Request(ranks, words, share, warmup)))
    return found


def measure(request: Request) -> dict[str, Any] | None:
    """Be one rank of a job: run iterations; rank 0 returns what they took. Collective."""
    silence_libraries()
    import torch

    from ppo_mpi.build import build_run
    from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
    from ppo_mpi.modes.train import run_iteration
    from ppo_mpi.storage.system_info import system_info

    config = parse_command(request.train_words).config
    comm = join(request.ranks)  # collective
    keep_big_blocks()
    threads = set_threads(config.job.threads, comm.node_affinities, comm.local_rank)
    run = build_run(config, comm)  # collective
    iterations = []
    for i in range(request.warmup + request.iterations):
        comm.barrier()  # collective
        start = time.perf_counter()
        metrics, _ = run_iteration(run, config, comm)  # collective
        seconds = {"seconds": time.perf_counter() - start}
        seconds |= {f"{part}_seconds": metrics[f"{part}_seconds"] for part in PARTS}
        if i >= request.warmup:
            iterations.append(seconds)
    machine = system_info(comm)  # collective
    device, precision = run.collector.actor.device, run.model.precision
    run.close()
    if not comm.is_root:
        return None
    return {
        "timesteps_per_iteration": config.learning.rollout_timesteps,
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": str(precision).removeprefix("torch."),
        "iterations": iterations,
        "machine": machine,
    }


def summarize(ranks: int, jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the medians and the spread over all iterations of all rounds of one job."""
    iterations = [iteration for job in jobs for iteration in job["iterations"]]
    timesteps = jobs[0]["timesteps_per_iteration"]
    speed = spread_of(timesteps / iteration["seconds"] for iteration in iterations)
    result = {
        "ranks": ranks,
        "threads": jobs[0]["threads"],
        "device": jobs[0]["device"],
        "precision": jobs[0]["precision"],
        "timesteps_per_second": speed.median,
        "timesteps_per_second_and_rank": speed.median / ranks,
        "slowest": speed.smallest,
        "fastest": speed.largest,
        "spread": speed.relative,
        "timesteps_per_iteration": timesteps,
        "iterations": iterations,
    }
    for part in PARTS:
        seconds = statistics.median(iteration[f"{part}_seconds"] for iteration in iterations)
        result[f"{part}_seconds"] = seconds
        if part != "communication":
            result[f"{part}_timesteps_per_second"] = timesteps / seconds if seconds else math.inf
    return result
