"""Measures training: timesteps per second of the whole loop, and of collecting and updating apart.

    python benchmarks/throughput.py --ranks 1,2 --iterations 6 --json throughput.json

It starts each job by itself: one rank as a plain process, several under mpirun. Several rank
counts take turns, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import load_before, write_figures
from benchmarks.jobs import is_worker, program, serve
from benchmarks.options import (
    ROUNDS,
    add_job_options,
    add_turn_options,
    new_parser,
    rank_counts,
    train_words,
)
from benchmarks.training_speed import measure, measure_in_turns, summarize
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    if is_worker():
        return serve(measure)
    options, typed = parse_options(sys.argv[1:])
    words = train_words(options, typed)
    try:
        parse_command(words).config.validate(max(options.ranks))
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    load = load_before()
    plan = [(ranks, words) for ranks in options.ranks]
    found = measure_in_turns(__file__, plan, options.iterations, options.warmup, options.rounds)
    results = [summarize(job[0], found[job]) for job in plan]
    print(table(results))
    if options.json:
        # At the top, for a reader in a hurry: the last rank count's.
        content = {name: results[-1][name] for name in ("timesteps_per_second", "ranks")}
        machine = found[plan[-1]][-1]["machine"]
        write_figures(options.json, content | {"results": results}, machine, load)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Measures timesteps per second of training.")
    parser.add_argument("--ranks", type=rank_counts, default=[1], help="such as 2, or 1,2,4")
    add_turn_options(parser)
    add_job_options(parser, preset="procgen-easy")
    options, words = parser.parse_known_args(argv)
    if options.rounds is None:
        options.rounds = ROUNDS if len(options.ranks) > 1 else 1
    return options, words


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


if __name__ == "__main__":
    sys.exit(main())
