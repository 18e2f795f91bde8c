"""Compares the gradients of bfloat16 and of float32, minibatch by minibatch, on real rollouts.

    python benchmarks/precision.py --env starpilot --iterations 3

A run trains in bfloat16. After each iteration the next rollout's first epoch is looked at: every
minibatch's gradient is computed in both precisions from the same parameters and samples, before
the update uses it. Printed are the cosine between the two and the ratio of their norms; what noise
there is anyway is shown by the cosine between the gradients of two halves of a minibatch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppo_mpi.__main__ import silence_libraries  # noqa: E402
from ppo_mpi.cli import parse_command  # noqa: E402
from ppo_mpi.errors import ConfigError  # noqa: E402


def main() -> int:
    """Measure, print a table and write a file; return the exit status."""
    options, words = parse_options(sys.argv[1:])
    words = ["train", options.env, "--preset", options.preset, *words]
    try:
        command = parse_command([*words, "--precision", "bfloat16"])
        command.config.validate(1)
    except ConfigError as error:
        print(f"precision: error: {error}", file=sys.stderr)
        return 2
    silence_libraries()
    rows = compare(command.config, options.iterations)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = argparse.ArgumentParser(
        description="Compares gradients in bfloat16 and in float32 on real rollouts.",
        epilog="All other options are settings of train, for example --num-envs 32.",
        allow_abbrev=False,
    )
    parser.add_argument("--env", default="starpilot")
    parser.add_argument("--preset", default="procgen-easy", help="gives the shapes (procgen-easy)")
    parser.add_argument("--iterations", type=int, default=3, help="trained and looked at (3)")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    return parser.parse_known_args(argv)


def compare(config: Any, iterations: int) -> list[dict[str, float]]:
    """Train, and return one row for each minibatch of each iteration's first epoch.

    Args:
        config: a TrainConfig of a job on one rank.
        iterations: how many.
    """
    from ppo_mpi.build import build_run
    from ppo_mpi.distributed.communicator import Communicator
    from ppo_mpi.distributed.machine import keep_big_blocks
    from ppo_mpi.learning.batch import make_batch
    from ppo_mpi.learning.rollout import minibatch_samples
    from ppo_mpi.modes.train import run_iteration

    keep_big_blocks()
    comm = Communicator()
    run = build_run(config, comm)
    rows = []
    for iteration in range(1, iterations + 1):
        run_iteration(run, config, comm)
        # The rollout is played for these comparisons only; training goes on behind it.
        rollout = run.collector.collect(1_000_000 + iteration, True)
        batch = make_batch(rollout, config.learning, run.reward_normalizer, comm)
        learning, steps = config.learning, len(batch.returns)
        indices = run.collector.actor.envs.indices
        for samples in minibatch_samples(
            indices, steps, learning.num_minibatches, config.job.seed, iteration, 0
        ):
            rows.append({"iteration": iteration} | compare_minibatch(run, batch, samples))
    run.close()
    return rows


def compare_minibatch(run: Any, batch: Any, samples: Any) -> dict[str, float]:
    """Return cosine and ratio of norms of a minibatch's gradients; its halves' cosine.

    Args:
        run: its model is read.
        batch: [T, B].
        samples: [N] int64, of the minibatch.
    """
    import torch

    low = gradient(run, batch, samples, torch.bfloat16)
    high = gradient(run, batch, samples, torch.float32)
    halves = [gradient(run, batch, samples[i::2], torch.float32) for i in (0, 1)]
    cosine = torch.nn.functional.cosine_similarity
    return {
        "cosine": float(cosine(low, high, 0)),
        "norm_ratio": float(low.norm() / high.norm()),
        "cosine_of_halves": float(cosine(*halves, 0)),
    }


def gradient(run: Any, batch: Any, samples: Any, precision: Any) -> Any:
    """Return the gradient of the loss over some samples, [P] float64, in one precision."""
    import torch

    from ppo_mpi.learning.rollout import microbatches

    learner = run.learner
    model, before = learner.model, learner.model.precision
    total = torch.zeros(learner.gradients.num_gradients, dtype=torch.float64)
    model.precision = precision
    try:
        for piece in microbatches(batch, samples, learner.microbatch_size):
            loss, _sums = learner.loss(model, piece, learner.config, learner.config.clip_range)
            parts = torch.autograd.grad(loss, learner.gradients.parameters)
            total += torch.cat([part.flatten() for part in parts]).double()
    finally:
        model.precision = before
    return total / len(samples)


def table(rows: list[dict[str, float]]) -> str:
    """Return for each iteration the median and the worst of its minibatches."""
    lines = ["iteration  cosine (worst)     norm ratio  cosine of two halves in float32"]
    for iteration in sorted({row["iteration"] for row in rows}):
        own = [row for row in rows if row["iteration"] == iteration]
        cosines = [row["cosine"] for row in own]
        lines.append(
            f"{iteration:9.0f}  {statistics.median(cosines):.4f} ({min(cosines):.4f})  "
            f"{statistics.median(row['norm_ratio'] for row in own):12.4f}  "
            f"{statistics.median(row['cosine_of_halves'] for row in own):31.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
