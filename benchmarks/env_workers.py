"""Measures environments in worker processes against the same ones in the rank's own process.

    python benchmarks/env_workers.py --env CartPole-v1,starpilot --workers 0,1,2 --json workers.json

Steps with random actions and no network, so that nothing but the environments is measured. The
numbers of workers take turns, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.figures import load_before, write_figures
from benchmarks.options import names, positive, whole
from benchmarks.spread import spread_of
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, VecEnvs
from ppo_mpi.envs.workers import WorkerEnvs
from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.system_info import system_info
from ppo_mpi.suites import make_envs

SEED = 1


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    options = parse_options(sys.argv[1:])
    load = load_before()
    results = []
    print("environment              workers  steps/s (slowest - fastest)  to the first")
    for env in options.env:
        try:
            found = measure(env, options)
        except ConfigError as error:
            print(f"env_workers.py: error: {error}", file=sys.stderr)
            return 2
        print("\n".join(line(result) for result in found), flush=True)
        results += found
    if options.json:
        write_figures(options.json, {"results": results}, system_info(Communicator()), load)
    return 0


def parse_options(argv: list[str]) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description="Measures environments in worker processes.")
    parser.add_argument(
        "--env", type=names, default=["CartPole-v1"], help="such as CartPole-v1,maze"
    )
    parser.add_argument("--workers", type=counts, default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument("--num-envs", type=positive, default=64)
    parser.add_argument("--steps", type=positive, default=100, help="of all, in each turn (100)")
    parser.add_argument("--rounds", type=positive, default=5, help="turns of each (5)")
    parser.add_argument("--json", type=Path, help="file for the figures and the machine's data")
    return parser.parse_args(argv)


def counts(text: str) -> list[int]:
    """Read numbers of workers, separated by commas; 0 is the rank itself."""
    return [whole(part) for part in text.split(",")]


def measure(env: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what each number of workers brings in one environment.

    Raises:
        ConfigError: there is no such environment.
    """
    made = {num: make(env, num, options.num_envs) for num in options.workers}
    speeds: dict[int, list[float]] = {num: [] for num in made}
    try:
        for envs in made.values():
            envs.reset()
            timesteps_per_second(envs, max(1, options.steps // 10))  # pages, caches, clocks
        for _ in range(options.rounds):
            for num, envs in made.items():
                speeds[num].append(timesteps_per_second(envs, options.steps))
    finally:
        for envs in made.values():
            envs.close()
    found = []
    for num, own in speeds.items():
        spread = spread_of(own)
        first = spread_of(speeds[options.workers[0]]).median
        found.append(
            {
                "env": env, "workers": num, "num_envs": options.num_envs,
                "timesteps_per_second": spread.median, "slowest": spread.smallest,
                "fastest": spread.largest, "ratio": spread.median / first,
            }
        )  # fmt: skip
    return found


def make(env: str, num_workers: int, num_envs: int) -> VecEnvs:
    """Make a rank's environments, in so many workers."""
    config = with_values(TrainConfig(), {"env": env})
    construct = partial(make_envs, config, seed=SEED, stream="train")
    indices: Sequence[int] = range(num_envs)
    return WorkerEnvs(construct, indices, num_workers) if num_workers else construct(indices)


def timesteps_per_second(envs: VecEnvs, steps: int) -> float:
    """Return how many timesteps a second random actions bring."""
    rng, num = np.random.default_rng(0), len(envs.indices)
    if isinstance(envs.action_spec, Discrete):
        actions = rng.integers(envs.action_spec.num_actions, size=(steps, num))
    else:
        shape = (steps, num, len(envs.action_spec.low))
        actions = rng.standard_normal(shape).astype(np.float32)
    begin = time.perf_counter()
    for row in actions:
        envs.step(row)
    return steps * num / (time.perf_counter() - begin)


def line(result: dict[str, Any]) -> str:
    """Return one result for the console."""
    spread = "({slowest:,.0f} - {fastest:,.0f})".format(**result)
    return (
        f"{result['env']:24} {result['workers']:7} {result['timesteps_per_second']:8,.0f} "
        f"{spread:22} {result['ratio']:8.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
