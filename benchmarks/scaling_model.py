"""Predicts how a job scales to more ranks, from some seconds of measurement on those there are.

    mpirun -np 2 python benchmarks/scaling_model.py --env starpilot --preset procgen-easy
    srun -N 2 -n 8 python benchmarks/scaling_model.py --env CartPole-v1 --preset cartpole

It measures, on the very machines and network: what a timestep costs a rank, how unevenly the ranks
take it, how long sums of small and of large messages take. From that it predicts the iteration, by
the formulas in scaling_formulas.py. The network is taken to be as fast between many hosts as
between these, so the prediction is an upper bound where it is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling_formulas import (  # noqa: E402
    Job,
    Network,
    Prediction,
    fit_network,
    predict,
    spread_of,
)
from ppo_mpi.__main__ import silence_libraries  # noqa: E402
from ppo_mpi.cli import parse_command  # noqa: E402
from ppo_mpi.errors import ConfigError  # noqa: E402

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
MESSAGE_BYTES = (8, 4_096, 65_536, 1_048_576, 4_194_304)
REPEATS = 30
WANTED = 0.8
"""Efficiency below which it is said what to change."""


def table(job: Job, network: Network, measured_ranks: int) -> str:
    """Return the predictions as text: the same job on more ranks, and one that grows with them."""
    lines = []
    kinds = {"strong": ("this job", 0), "weak": ("this share a rank", measured_ranks)}
    for title, weak_from in kinds.values():
        lines += [
            f"{title}:",
            "ranks  timesteps/s  efficiency  seconds of work  slowest  gradients  messages",
        ]
        for ranks in RANKS:
            if not weak_from and ranks > job.num_envs:
                lines.append(f"{ranks:5}  more ranks than num_envs={job.num_envs}")
                break
            p = predict(job, network, ranks, weak_from)
            lines.append(
                f"{ranks:5} {p.timesteps / p.seconds:12,.0f} {p.efficiency:11.1%} {p.busy:16.3f} "
                f"{p.waiting:8.3f} {p.gradients:10.3f} {p.messages:9.3f}"
            )
            if p.efficiency < WANTED:
                lines.append(f"       {advice(p)}")
                break
    return "\n".join(lines)


def advice(prediction: Prediction) -> str:
    """Return what to change where a job stops scaling: the largest loss decides."""
    losses = {
        "gradients": prediction.gradients,
        "messages": prediction.messages,
        "waiting": prediction.waiting,
    }
    what = max(losses, key=lambda name: losses[name])
    remedies = {
        "gradients": "sums of gradients: use fewer and larger minibatches (--num-minibatches), a "
        "larger --rollout-timesteps, or a faster network",
        "messages": "small messages: use a larger --rollout-timesteps, so that there are fewer "
        "iterations, and --normalize-advantages rollout",
        "waiting": "waiting for the slowest rank: use a larger --rollout-timesteps, and bind each "
        "rank to cores of its own",
    }
    return f"most is lost to {remedies[what]}"


def main() -> int:
    """Measure on all ranks and print on the first; return the exit status. Collective."""
    options, words = parse_options(sys.argv[1:])
    silence_libraries()
    from ppo_mpi.distributed.communicator import connect

    try:
        command = parse_command(["train", options.env, "--preset", options.preset, *words])
        comm = connect()  # collective
        command.config.validate(comm.world_size)
    except ConfigError as error:
        print(f"scaling_model: error: {error}", file=sys.stderr)
        return 2
    if comm.world_size == 1:
        print("scaling_model: error: one rank has no network to measure; launch two or more: "
              "mpirun -np 2 python benchmarks/scaling_model.py", file=sys.stderr)  # fmt: skip
        return 2
    job, waited = measure_job(command.config, comm, options.iterations)  # collective
    seconds = [measure_sum(comm, size) for size in MESSAGE_BYTES]  # collective
    if comm.is_root:
        network = fit_network(comm.world_size, MESSAGE_BYTES, seconds)
        job = replace(job, spread=spread_of(job, network, comm.world_size, waited))
        report(job, network, comm, seconds)
        if options.json:
            write_json(options.json, job, network, comm, waited, seconds)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = argparse.ArgumentParser(
        description="Predicts how a job scales, from a measurement on two or more ranks.",
        epilog="All other options are settings of train, for example --num-envs 128.",
        allow_abbrev=False,
    )
    parser.add_argument("--env", default="coinrun")
    parser.add_argument("--preset", default="procgen-easy", help="gives the shapes (procgen-easy)")
    parser.add_argument("--iterations", type=int, default=2, help="measured, after one (2)")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    return parser.parse_known_args(argv)


def measure_job(config: Any, comm: Any, iterations: int) -> tuple[Job, float]:
    """Run some iterations. Collective.

    Args:
        config: a TrainConfig.
        comm: the job's Communicator.
        iterations: after one that is not measured.

    Returns:
        the job, without a spread, and the seconds that the mean rank was in collectives.
    """
    from ppo_mpi.build import build_run
    from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
    from ppo_mpi.modes.train import run_iteration

    keep_big_blocks()
    set_threads(config.job.threads, comm.node_affinities, comm.local_rank)
    run = build_run(config, comm)  # collective
    run_iteration(run, config, comm)  # collective
    begin, waited, messages = time.perf_counter(), comm.seconds, comm.messages
    learned = 0.0
    for _ in range(iterations):
        metrics, _episodes = run_iteration(run, config, comm)  # collective
        learned += metrics["update_seconds"] / iterations
    seconds = (time.perf_counter() - begin) / iterations
    waited = (comm.seconds - waited) / iterations
    messages = (comm.messages - messages) / iterations
    steps = int(metrics["optimizer_steps"])
    sizes = [message.nbytes for message in run.learner.gradients.messages()]
    if comm.transport != "mpi":
        sizes = [sum(sizes)]
    # Only a single thread sends what it has before it goes on.
    early_bytes = sum(sizes[:-1]) if run.learner.workers is None else 0
    size = run.progress.microbatch_size
    run.close()
    # [P, 2]
    everyone = np.array(comm.gather_all((seconds - waited, waited)))  # collective
    busy, waited = everyone.mean(0).tolist()
    timesteps = config.learning.rollout_timesteps
    num_envs, work = config.environment.num_envs, busy * comm.world_size / timesteps
    per_step = config.learning.num_epochs * timesteps / steps
    step_seconds = max(0.0, learned - waited) * comm.world_size / steps
    return Job(
        timesteps, num_envs, steps, sum(sizes), messages - len(sizes) * steps, work,
        early_bytes=early_bytes,
        microbatch_seconds=step_seconds * min(1.0, size / per_step if size else 1.0),
        step_seconds=step_seconds,
    ), waited  # fmt: skip


def measure_sum(comm: Any, num_bytes: int) -> float:
    """Return the median seconds of a sum over all ranks. Collective."""
    array = np.ones(max(1, num_bytes // 8))
    seconds = []
    for _ in range(REPEATS):
        comm.barrier()  # collective
        begin = time.perf_counter()
        comm.sum(array)  # collective
        seconds.append(time.perf_counter() - begin)
    slowest = np.array(comm.gather_all(seconds)).max(0)  # collective
    return float(statistics.median(slowest.tolist()))


def report(job: Job, network: Network, comm: Any, seconds: Sequence[float]) -> None:
    """Print what was measured and what follows from it."""
    ranks = comm.world_size
    print(f"measured on {ranks} ranks, {len(set(comm.hosts))} host(s), {comm.library}")
    print(
        f"  {1 / job.timestep_seconds:,.0f} timesteps/s of work a rank, spread {job.spread:.1%}; "
        f"{job.optimizer_steps} sums of {job.gradient_bytes:,} bytes "
        f"({job.early_bytes:,} of them early) and "
        f"{job.other_messages:.0f} small messages an iteration of {job.timesteps:,} timesteps"
    )
    for size, time_taken in zip(MESSAGE_BYTES, seconds, strict=True):
        fitted = network.seconds(ranks, size)
        print(f"  sum of {size:9,} bytes {1e3 * time_taken:9.3f} ms (fitted {1e3 * fitted:.3f})")
    print(
        f"  latency {1e6 * network.latency:,.0f} us, bandwidth "
        f"{network.bandwidth * 8 / 1e9:,.2f} Gbit/s\npredicted"
    )
    print(table(job, network, ranks))


def write_json(
    path: Path, job: Job, network: Network, comm: Any, waited: float, seconds: Sequence[float]
) -> None:
    """Write what was measured and fitted."""
    busy = job.timesteps / comm.world_size * job.timestep_seconds
    result = {
        "ranks": comm.world_size,
        "hosts": sorted(set(comm.hosts)),
        "library": comm.library,
        "job": asdict(job),
        "network": asdict(network),
        "timesteps_per_second": job.timesteps / (busy + waited),
        "share_in_collectives": waited / (busy + waited),
        "sum_seconds": dict(zip(map(str, MESSAGE_BYTES), seconds, strict=True)),
    }
    path.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
