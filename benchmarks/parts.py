"""Shows where an iteration's time goes: the network's passes, the engine, and all the rest.

    python benchmarks/parts.py --env starpilot --iterations 2

One rank, one thread. Clocks are put around the parts of a run, so what is printed is the training
itself. Collecting and learning are given in full; what they contain beside the network is the
overhead that a faster network would meet.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import load_before, write_figures
from benchmarks.jobs import program
from benchmarks.options import add_job_options, new_parser, positive, train_words, whole
from ppo_mpi.__main__ import silence_libraries
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError

NETWORK = ("acting: network", "learning: network and loss")
NAMES = {
    "acting: network": "the policy's pass",
    "acting: engine": "environments",
    "acting: rest": "sampling, storing, accounts of episodes",
    "batch": "reward normalizer, advantages, their moments",
    "learning: network and loss": "forward and backward passes",
    "learning: gathering": "microbatches out of the rollout",
    "learning: average": "of gradients over the ranks, checks",
    "learning: clip and Adam": "",
    "learning: rest": "dealing minibatches, statistics",
}


class Clock:
    """Seconds in functions that were put under it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def put(self, owner: Any, name: str, part: str) -> None:
        """Measure ``owner.name`` as ``part`` from now on."""
        setattr(owner, name, self.around(getattr(owner, name), part))

    def around(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Return ``function`` with the clock around it."""

        def measured(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(part, time.perf_counter() - begin)

        return measured

    def add(self, part: str, seconds: float) -> None:
        """Add to a part."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    options, typed = parse_options(sys.argv[1:])
    words = train_words(options, ["--threads", "1", *typed])
    try:
        config = parse_command(words).config
        config.validate(1)
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    load = load_before()
    seconds, machine = measure(config, options.iterations, options.warmup)
    shares = parts_of(seconds)
    print(table(shares, options.iterations))
    if options.json:
        write_figures(options.json, {"seconds": shares}, machine, load)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Shows where an iteration's time goes.")
    parser.add_argument("--iterations", type=positive, default=2, help="measured (2)")
    parser.add_argument("--warmup", type=whole, default=1, help="iterations before those (1)")
    add_job_options(parser, preset="procgen-easy")
    return parser.parse_known_args(argv)


def measure(config: Any, iterations: int, warmup: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the seconds under each clock, over all iterations, and the machine."""
    silence_libraries()
    from ppo_mpi.build import build_run
    from ppo_mpi.distributed.communicator import Communicator
    from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
    from ppo_mpi.learning import update
    from ppo_mpi.modes import phases, train
    from ppo_mpi.storage.system_info import system_info

    comm, clock = Communicator(), Clock()
    keep_big_blocks()
    set_threads(1, comm.node_affinities, 0)
    run = build_run(config, comm)
    for _ in range(warmup):
        train.run_iteration(run, config, comm)
    actor, learner = run.collector.actor, run.learner
    clock.put(actor.envs, "step", "engine")
    clock.put(actor, "_outputs", "acting")
    clock.put(run.collector, "collect", "collect")
    clock.put(phases, "make_batch", "batch")
    clock.put(phases, "update", "update")
    clock.put(update, "optimizer_step", "steps")
    clock.put(comm, "average_gradients", "average")
    clock.put(learner.gradients, "clip_norm", "clip")
    clock.put(learner.optimizer, "step", "adam")
    gather = update.microbatches

    def measured_pieces(*args: Any) -> Any:
        pieces = gather(*args)
        while True:
            begin = time.perf_counter()
            piece = next(pieces, None)
            clock.add("gathering", time.perf_counter() - begin)
            if piece is None:
                return
            yield piece

    update.microbatches = measured_pieces  # type: ignore[assignment]
    begin = time.perf_counter()
    for _ in range(iterations):
        train.run_iteration(run, config, comm)
    clock.add("whole", time.perf_counter() - begin)
    machine = system_info(comm)
    run.close()
    return clock.seconds, machine


def parts_of(s: dict[str, float]) -> dict[str, float]:
    """Return the seconds of each part in ``NAMES``; together they are the whole."""
    inner = s["gathering"] + s["average"] + s["clip"] + s["adam"]
    return {
        "acting: network": s["acting"],
        "acting: engine": s["engine"],
        "acting: rest": s["collect"] - s["acting"] - s["engine"],
        "batch": s["batch"],
        "learning: network and loss": s["steps"] - inner,
        "learning: gathering": s["gathering"],
        "learning: average": s["average"],
        "learning: clip and Adam": s["clip"] + s["adam"],
        "learning: rest": s["whole"] - s["collect"] - s["batch"] - s["steps"],
    }


def table(shares: dict[str, float], iterations: int) -> str:
    """Return the results for the console."""
    total = sum(shares.values())
    lines = ["part                         ms an iteration   share"]
    for name, seconds in shares.items():
        milliseconds = 1e3 * seconds / iterations
        lines.append(f"{name:28} {milliseconds:15,.1f} {seconds / total:7.1%}  {NAMES[name]}")
    beside = total - sum(shares[name] for name in NETWORK)
    lines.append(
        f"{'all but the network':28} {1e3 * beside / iterations:15,.1f} {beside / total:7.1%}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
