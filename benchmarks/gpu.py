"""Measures training on a GPU: what turns and recorded kernels bring, what the engine alone does.

    python benchmarks/gpu.py --env starpilot --num-envs 1024 --rollout-timesteps 262144

The ways to train take turns, so that what else the machine does falls on all of them. It starts the
ranks by itself. Without a GPU it compares the ways that there are on a processor.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import load_before, write_figures
from benchmarks.jobs import Request, is_worker, program, serve
from benchmarks.options import (
    ROUNDS,
    add_job_options,
    add_turn_options,
    new_parser,
    positive,
    train_words,
)
from benchmarks.training_speed import measure, measure_in_turns, summarize
from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError

WAYS = {
    "one group, kernel by kernel": ("--turns", "1", "--cuda-graphs", "false"),
    "one group, recorded": ("--turns", "1", "--cuda-graphs", "true"),
    "two groups, kernel by kernel": ("--turns", "2", "--cuda-graphs", "false"),
    "two groups, recorded": ("--turns", "2", "--cuda-graphs", "true"),
    "four groups, recorded": ("--turns", "4", "--cuda-graphs", "true"),
}
KERNEL_BY_KERNEL = tuple(way for way, words in WAYS.items() if words[-1] == "false")
ENGINE_SECONDS = 2.0
GOAL = 25_000_000
"""Timesteps of the published runs of easy Procgen games."""


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    if is_worker():
        return serve(measure_with_engine)
    options, typed = parse_options(sys.argv[1:])
    plan = {way: (options.ranks, train_words(options, [*typed, *WAYS[way]])) for way in WAYS}
    try:
        if not has_gpu(plan[KERNEL_BY_KERNEL[0]][1]):  # where nothing is recorded
            plan = {way: plan[way] for way in KERNEL_BY_KERNEL}
        for _, words in plan.values():
            parse_command(words).config.validate(options.ranks)
    except ConfigError as error:
        print(f"{program()}: error: {error}", file=sys.stderr)
        return 2
    load = load_before()
    found = measure_in_turns(
        __file__, list(plan.values()), options.iterations, options.warmup, options.rounds
    )
    results = []
    for way, job in plan.items():
        engines = [part["engine_steps_per_second"] for part in found[job]]
        result = summarize(options.ranks, found[job]) | {"way": way}
        results.append(result | {"engine_steps_per_second": max(engines)})
    print(table(results))
    if options.json:
        machine = next(iter(found.values()))[-1]["machine"]
        write_figures(options.json, {"results": results}, machine, load)
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Measures training on a GPU, in several ways.")
    parser.add_argument("--ranks", type=positive, default=1, help="one for each GPU (1)")
    add_turn_options(parser)
    add_job_options(parser, preset="procgen-easy")
    options, words = parser.parse_known_args(argv)
    options.rounds = options.rounds or ROUNDS
    return options, words


def has_gpu(words: tuple[str, ...]) -> bool:
    """Return whether a job with this command line trains on a GPU.

    Raises:
        ConfigError: it asks for one and there is none.
    """
    from ppo_mpi.distributed.machine import choose_device

    return choose_device(parse_command(words).config.job.device, 0).type == "cuda"


def measure_with_engine(request: Request) -> dict[str, Any] | None:
    """Be one rank of a job: run iterations, then the environments alone. Collective."""
    found = measure(request)  # collective
    if found is None:
        return None
    return found | {"engine_steps_per_second": request.ranks * engine_speed(request)}


def engine_speed(request: Request) -> float:
    """Return the steps per second of one rank's environments with random actions."""
    import numpy as np
    import torch

    from ppo_mpi.distributed.machine import choose_device
    from ppo_mpi.networks.distributions import draw_noise
    from ppo_mpi.networks.policies import PolicyKind
    from ppo_mpi.settings.network import NetworkConfig
    from ppo_mpi.stepping import Resources, make_parts

    config = parse_command(request.train_words).config
    resources = Resources.of(config, choose_device(config.job.device, 0), torch.get_num_threads())
    num = config.environment.num_envs // request.ranks
    envs = make_parts(config, range(num), False, resources)
    spec, random = envs.action_spec, np.random.default_rng(0)
    noise = torch.from_numpy(draw_noise(random, 64 * num, spec))
    flat = torch.zeros(64 * num, spec.num_outputs), torch.zeros(spec.num_reals)
    drawn = PolicyKind(spec, NetworkConfig()).distribution(*flat).sample(noise)
    actions = drawn.unflatten(0, (64, num)).numpy()
    envs.reset()
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < ENGINE_SECONDS:
        envs.step(actions[steps % 64])
        steps += 1
    speed = steps * num / (time.perf_counter() - begin)
    envs.close()
    return speed


def table(results: list[dict[str, Any]]) -> str:
    """Return the results for the console: medians, timesteps per second of the whole job."""
    lines = [
        f"on {results[0]['device']}, {results[0]['ranks']} rank(s), {results[0]['precision']}",
        "way                           timesteps/s (slowest - fastest)   collect    update"
        "    engine  25 million in",
    ]
    for r in results:
        lines.append(
            f"{r['way']:29} {r['timesteps_per_second']:11,.0f} "
            f"{'({slowest:,.0f} - {fastest:,.0f})'.format(**r):19} "
            f"{r['collect_timesteps_per_second']:9,.0f} "
            f"{r['update_timesteps_per_second']:9,.0f} "
            f"{r['engine_steps_per_second']:9,.0f} "
            f"{GOAL / r['timesteps_per_second'] / 60:10,.1f} min"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
