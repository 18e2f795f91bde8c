"""Measures how training gains from ranks: the same job on more of them, and more of it on more.

    python benchmarks/scaling.py --ranks 1,2,4 --plot scaling.png --json scaling.json

Strong scaling keeps the job: num_envs and rollout_timesteps are shared by more ranks. Weak scaling
keeps each rank's share: they are multiplied by the number of ranks, minibatches stay as many.

Every rank has one thread unless --threads says otherwise: left to itself, one rank takes all cores,
and there would be nothing to gain from a second. More ranks than cores cannot be faster.

The efficiency is the speed divided by that of the smallest number of ranks, times how many times
more ranks there are; medians of all rounds. Time in collectives includes waiting for other ranks.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import load_before, write_figures
from benchmarks.jobs import is_worker, program, serve
from benchmarks.options import (
    ROUNDS,
    add_job_options,
    add_turn_options,
    names,
    new_parser,
    positive,
    rank_counts,
    train_words,
)
from benchmarks.scaling_plot import draw, require_matplotlib
from benchmarks.training_speed import Job, measure, measure_in_turns, summarize
from ppo_mpi.cli import parse_command
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.machine import available_cores
from ppo_mpi.errors import ConfigError

KINDS = ("strong", "weak")


def main() -> int:
    """Measure, print a table, write and draw; return the exit status."""
    if is_worker():
        return serve(measure)
    options, typed = parse_options(sys.argv[1:])
    if options.plot:
        require_matplotlib()
    words = (*train_words(options, typed), "--threads", str(options.threads))
    try:
        plan = {kind: jobs_of(kind, options.ranks, words) for kind in options.kind}
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    load = load_before()
    # On one rank the two kinds are the same job, which is run once.
    jobs = [job for kind_jobs in plan.values() for job in kind_jobs]
    found = measure_in_turns(__file__, jobs, options.iterations, options.warmup, options.rounds)
    results = []
    for kind, kind_jobs in plan.items():
        results += compared(kind, [summarize(job[0], found[job]) for job in kind_jobs])
    print(table(results))
    print(*notes(options.ranks, options.threads, len(available_cores())), sep="\n")
    if options.json:
        machine = found[jobs[-1]][-1]["machine"]
        write_figures(options.json, {"results": results}, machine, load)
    if options.plot:
        draw(results, options.env, options.plot)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Measures strong and weak scaling of training.")
    parser.add_argument("--ranks", type=rank_counts, default=[1, 2], help="such as 1,2,4 (1,2)")
    parser.add_argument("--kind", type=kinds, default=list(KINDS), help="strong, weak, or both")
    parser.add_argument("--threads", type=positive, default=1, help="of each rank (1)")
    add_turn_options(parser)
    add_job_options(parser, preset="procgen-easy")
    parser.add_argument("--plot", type=Path, help="PNG to draw, timesteps/s against ranks")
    options, words = parser.parse_known_args(argv)
    options.ranks = sorted(set(options.ranks))
    if options.rounds is None:
        options.rounds = ROUNDS
    return options, words


def kinds(text: str) -> list[str]:
    """Read kinds of scaling, separated by commas."""
    found = names(text)
    for name in found:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"{name!r} is not known; use strong, weak or both")
    return found


def jobs_of(kind: str, ranks: list[int], words: tuple[str, ...]) -> list[Job]:
    """Return one job for each number of ranks.

    Args:
        kind: strong or weak.
        ranks: numbers of them.
        words: of the job on one rank.

    Raises:
        ConfigError: one of them cannot be.
    """
    config = parse_command(words).config
    jobs = []
    for count in ranks:
        more = weak_settings(config, count) if kind == "weak" else ()
        job = (count, (*words, *more))
        parse_command(job[1]).config.validate(count)
        jobs.append(job)
    return jobs


def weak_settings(config: TrainConfig, ranks: int) -> tuple[str, ...]:
    """Return the settings that leave each rank the share that ``config`` gives to one."""
    if ranks == 1:
        return ()
    environment = config.environment
    values = {
        "--num-envs": environment.num_envs,
        "--num-test-envs": environment.num_test_envs,
        "--rollout-timesteps": config.learning.rollout_timesteps,
    }
    return tuple(word for name, value in values.items() for word in (name, str(value * ranks)))


def efficiencies(speeds: Mapping[int, float]) -> dict[int, float]:
    """Return for each number of ranks what part of the ideal speed it reaches.

    Args:
        speeds: ranks -> timesteps per second of the whole job.
    """
    fewest = min(speeds)
    return {ranks: speed * fewest / (ranks * speeds[fewest]) for ranks, speed in speeds.items()}


def compared(kind: str, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of one kind with their efficiency and the share of communication."""
    reached = efficiencies({r["ranks"]: r["timesteps_per_second"] for r in results})
    return [
        {
            "kind": kind,
            **r,
            "efficiency": reached[r["ranks"]],
            "communication_share": statistics.median(
                i["communication_seconds"] / i["seconds"] for i in r["iterations"]
            ),
        }
        for r in results
    ]


def table(results: list[dict[str, Any]]) -> str:
    """Return the results for the console: medians, timesteps per second of the whole job."""
    lines = ["kind   ranks threads  timesteps/s (slowest - fastest)  efficiency  in collectives"]
    for r in results:
        lines.append(
            f"{r['kind']:6} {r['ranks']:5} {r['threads']:7} {r['timesteps_per_second']:12,.0f} "
            f"{'({slowest:,.0f} - {fastest:,.0f})'.format(**r):19} "
            f"{r['efficiency']:10.1%} {r['communication_share']:15.1%}"
        )
    return "\n".join(lines)


def notes(ranks: list[int], threads: int, cores: int) -> list[str]:
    """Return what a reader of the table should know.

    Args:
        ranks: the numbers that were measured.
        threads: of each rank.
        cores: that this machine lets us use.
    """
    lines = [f"note: every rank has {threads} thread(s), however few ranks there are"]
    crowded = [count for count in ranks if count * threads > cores]
    if crowded:
        lines.append(
            f"note: {', '.join(map(str, crowded))} ranks of {threads} thread(s) share {cores} "
            "core(s): their efficiency says nothing of a machine that has enough"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
