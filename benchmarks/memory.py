"""Measures the memory of one rank: its peak after each stage, beside what it should be on paper.

    python benchmarks/memory.py --preset procgen-hard-500 --env coinrun --ranks 8

One plain process takes the share that the first of so many ranks has: its environments, its
timesteps, as many minibatches. What the MPI library takes is not in it, nor what lies on a GPU.
The peak is Linux's VmHWM, which counts pages of shared files for every process. Iterations take
one epoch each (--num-epochs), as later ones need no more memory. The part of activations is that of
the largest microbatch: a run that measures which size is fastest tries larger ones than it takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import load_before, write_figures
from benchmarks.jobs import Request, is_worker, join, program, run_job, serve
from benchmarks.options import (
    add_job_options,
    new_parser,
    positive,
    train_words,
    whole,
)
from benchmarks.process_memory import require_linux, status_bytes, status_text
from ppo_mpi.__main__ import silence_libraries
from ppo_mpi.cli import parse_command
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.machine import available_cores
from ppo_mpi.errors import ConfigError

STAGES = {
    "imports": "after importing",
    "environments": "after making the environments",
    "run": "after building the run",
    "iterations": "after {iterations} iteration(s)",
}
PARTS = {
    "imports": "Python, torch, package (measured)",
    "suite": "suite's library, pictures (measured)",
    "environments": "environments",
    "model": "model, gradients, Adam's moments",
    "rollout": "rollout",
    "activations": "activations of the microbatch",
}


def main() -> int:
    """Measure, print tables and write a file; return the exit status."""
    if is_worker():
        return serve(measure)
    options, typed = parse_options(sys.argv[1:])
    require_linux()
    # What is typed stands further back and wins.
    words = train_words(options, ["--num-epochs", "1", "--threads", str(options.threads), *typed])
    try:
        config = parse_command(words).config
        config.validate(options.ranks)
        words = (*words, *share_settings(config, options.ranks))
        share = parse_command(words).config
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    load = load_before()
    found = run_job(__file__, Request(1, words, options.iterations))
    machine = found.pop("machine")
    print(headline(config, share, options.ranks, found))
    print(table(found["peaks"], found["resident"], found["paper"], options.iterations))
    print(f"note: {mebibytes(found['file_bytes']).strip()} MiB of it are files, loaded once a node")
    if options.json:
        shape = {"ranks": options.ranks, "iterations": options.iterations}
        write_figures(options.json, shape | found, machine, load)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Measures the peak memory of one rank.")
    parser.add_argument("--ranks", type=positive, default=8, help="that share the job (8)")
    parser.add_argument("--iterations", type=whole, default=1, help="0 = do not train (1)")
    parser.add_argument("--threads", type=positive, help="of the rank (cores here / ranks)")
    add_job_options(parser, preset="procgen-hard-500")
    options, words = parser.parse_known_args(argv)
    if options.threads is None:
        options.threads = max(1, len(available_cores()) // options.ranks)
    return options, words


def share_settings(config: TrainConfig, ranks: int) -> tuple[str, ...]:
    """Return the settings of a job that is the largest share of one rank."""
    num_envs = -(-config.environment.num_envs // ranks)
    values = {
        "--num-envs": num_envs,
        "--num-test-envs": -(-config.environment.num_test_envs // ranks),
        "--rollout-timesteps": num_envs * config.rollout_steps,
    }
    return tuple(word for name, value in values.items() for word in (name, str(value)))


def measure(request: Request) -> dict[str, Any]:
    """Train for some iterations and return the peaks on the way, in bytes."""
    silence_libraries()
    from benchmarks.memory_on_paper import largest_microbatch, parts_on_paper
    from ppo_mpi import build, stepping
    from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
    from ppo_mpi.modes.train import run_iteration
    from ppo_mpi.storage.system_info import system_info
    from ppo_mpi.suites import make_envs

    config = parse_command(request.train_words).config
    comm = join(request.ranks)  # collective
    peaks: dict[str, int] = {}
    resident: dict[str, int] = {}

    def look(stage: str) -> None:
        text = status_text()  # once, so that the two fit each other
        peaks[stage], resident[stage] = status_bytes("VmHWM", text), status_bytes("VmRSS", text)

    look("imports")
    keep_big_blocks()
    threads = set_threads(config.job.threads, comm.node_affinities, comm.local_rank)

    def make_envs_and_look(*arguments: Any, **named: Any) -> Any:
        envs = make_envs(*arguments, **named)
        if "environments" not in peaks:  # those on held-out levels come later
            look("environments")
        return envs

    # They are made in the midst of it; made apart, they would be there twice.
    with mock.patch.object(stepping, "make_envs", make_envs_and_look):
        run = build.build_run(config, comm)  # collective
    look("run")
    for _ in range(request.iterations):
        run_iteration(run, config, comm)  # collective
    if request.iterations:
        look("iterations")
    file_bytes = status_bytes("RssFile", status_text())
    # Now that nothing is measured any more: it runs the network once.
    paper = parts_on_paper(run, config)
    suite = peaks["environments"] - peaks["imports"] - paper["environments"]
    found = {
        "peaks": peaks,
        "resident": resident,
        "paper": {"imports": peaks["imports"], "suite": max(0, suite), **paper},
        "file_bytes": file_bytes,
        "threads": threads,
        "microbatch_samples": largest_microbatch(run, config),
        "precision": str(run.model.precision).removeprefix("torch."),
        "machine": system_info(comm),  # collective
    }
    run.close()
    return found


def headline(config: TrainConfig, share: TrainConfig, ranks: int, found: Mapping[str, Any]) -> str:
    """Return whose memory it is.

    Args:
        config: of the whole job.
        share: of one rank's.
        ranks: that share the job.
        found: what ``measure`` returned.
    """
    return (
        f"{config.environment.env}, one rank of {ranks}: "
        f"{share.environment.num_envs} of {config.environment.num_envs} environments, "
        f"{share.learning.rollout_timesteps:,} of {config.learning.rollout_timesteps:,} "
        f"timesteps\n{found['precision']}, {found['threads']} thread(s) with "
        f"{found['microbatch_samples']} samples each at most"
    )


def table(
    peaks: Mapping[str, int], resident: Mapping[str, int], paper: Mapping[str, int], iterations: int
) -> str:
    """Return the peaks and the parts for the console.

    Args:
        peaks: stage -> bytes at most so far; without "iterations" if there were none.
        resident: stage -> bytes at its end.
        paper: part -> bytes.
        iterations: that were trained.
    """
    lines = [f"{'resident memory, MiB':36} {'peak':>9} {'more':>9} {'at end':>9}"]
    before = 0
    for stage, peak in peaks.items():
        text = STAGES[stage].format(iterations=iterations)
        sizes = map(mebibytes, (peak, peak - before, resident[stage]))
        lines.append(f"{text:36} {' '.join(sizes)}")
        before = peak
    lines += ["", f"{'on paper, MiB':36} {'sum':>9} {'part':>9}"]
    total = 0
    for part, size in paper.items():
        total += size
        lines.append(f"{PARTS[part]:36} {mebibytes(total)} {mebibytes(size)}")
    if "iterations" in peaks:
        # What torch imports at its first use, kernels' workspaces, gaps between kept blocks.
        rest = peaks["iterations"] - total
        lines.append(f"{'measured beyond that':36} {'':9} {mebibytes(rest)}")
    return "\n".join(lines)


def mebibytes(num_bytes: int) -> str:
    """Return a size as a column of the table."""
    return f"{num_bytes / 2**20:9,.1f}"


if __name__ == "__main__":
    sys.exit(main())
