"""Shows what phasic policy gradient costs for each timestep, beside PPO on the same network.

    python benchmarks/phases.py --env starpilot --num-envs 16 --rollout-timesteps 1024

One rank, one thread. A whole phase is measured of each job: a policy phase of a few iterations is
enough, as an auxiliary phase goes through each of its timesteps as often, however many they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import load_before, write_figures
from benchmarks.jobs import program
from benchmarks.options import add_job_options, new_parser, positive, train_words
from ppo_mpi.__main__ import silence_libraries
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError

PARTS = ("collecting", "policy and value epochs", "auxiliary phase")


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    options, typed = parse_options(sys.argv[1:])
    words = ["--threads", "1", "--policy-iterations", str(options.iterations), *typed]
    try:
        config = parse_command(train_words(options, words)).config
        ppo = parse_command(train_words(options, [*words, "--algorithm", "ppo"])).config
        for asked in (config, ppo):
            asked.validate(1)
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    load = load_before()
    found, machine = {}, {}
    for asked in (config, ppo):
        name = f"{asked.learning.algorithm}, {asked.learning.num_epochs} epoch(s)"
        found[name], machine = measure(asked, options.iterations)
    print("\n".join(table(found)))
    if options.json:
        write_figures(options.json, {"seconds_per_timestep": found}, machine, load)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Shows what phasic policy gradient costs for each timestep.")
    parser.add_argument("--iterations", type=positive, default=2, help="of a policy phase (2)")
    add_job_options(parser, preset="procgen-ppg-easy")
    return parser.parse_known_args(argv)


def measure(config: Any, iterations: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the seconds per timestep of each part, over one phase, and the machine."""
    silence_libraries()
    from ppo_mpi.build import build_run
    from ppo_mpi.distributed.communicator import Communicator
    from ppo_mpi.distributed.machine import keep_big_blocks, set_threads
    from ppo_mpi.modes.train import run_iteration
    from ppo_mpi.storage.system_info import system_info

    comm = Communicator()
    keep_big_blocks()
    set_threads(1, comm.node_affinities, 0)
    run = build_run(config, comm)
    run_iteration(run, config, comm)  # warms caches up
    seconds = dict.fromkeys(PARTS, 0.0)
    if run.phasic is not None:
        run.phasic.rollouts = ()
        learn = run.phasic.auxiliary.learn

        def measured(*arguments: Any) -> Any:
            begin = time.perf_counter()
            metrics = learn(*arguments)
            seconds["auxiliary phase"] += time.perf_counter() - begin
            return metrics

        run.phasic.auxiliary.learn = measured  # type: ignore[method-assign]
    for _ in range(iterations):
        metrics, _ = run_iteration(run, config, comm)
        seconds["collecting"] += metrics["collect_seconds"]
        seconds["policy and value epochs"] += metrics["update_seconds"]
    seconds["policy and value epochs"] -= seconds["auxiliary phase"]
    machine = system_info(comm)
    run.close()
    timesteps = iterations * config.learning.rollout_timesteps
    return {part: own / timesteps for part, own in seconds.items()}, machine


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """Return milliseconds per timestep in lines: a column for each job."""
    lines = ["".join(f"{name:>26}" for name in ("ms per timestep", *found))]
    for part in PARTS:
        lines.append(f"{part:>26}" + "".join(f"{1e3 * own[part]:26.3f}" for own in found.values()))
    totals = [1e3 * sum(own.values()) for own in found.values()]
    return [*lines, f"{'together':>26}" + "".join(f"{total:26.3f}" for total in totals)]


if __name__ == "__main__":
    sys.exit(main())
