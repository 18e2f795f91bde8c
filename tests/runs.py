"""Small jobs whose runs are compared, and what two runs must have in common."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ppo_mpi.distributed.iteration_clock import CLOCK_COLUMNS
from ppo_mpi.storage.run_folder import checkpoints_of

# 8 environments x 64 steps an iteration, exact arithmetic, everything that has a state switched on.
COMMON = [
    "--num-envs", "8", "--rollout-timesteps", "512", "--num-epochs", "2", "--num-minibatches", "3",
    "--seed", "3", "--precision", "float32", "--learning-rate-schedule", "constant",
    "--normalize-rewards", "true", "--display", "off",
]  # fmt: skip
JOBS = {
    "starpilot": [
        "starpilot", "--channel-multiplier", "0.5", "--feature-size", "64", "--num-levels", "20",
        "--num-test-envs", "2", *COMMON,
    ],
    "CartPole": [
        "CartPole-v1", "--normalize-observations", "true", "--eval-every", "2",
        "--eval-episodes", "3", *COMMON,
    ],
    # Parts of three numbers and of one, and a critic of other sizes.
    "split": [
        "CartPole-v1", "--network", "split", "--split-start", "-1", "--activation", "leaky_relu",
        "--initialization", "normc", "--left-hidden-sizes", "18", "--joint-hidden-sizes", "24",
        "--shared-torso", "false", "--value-right-hidden-sizes", "7", "5",
        "--activate-branches", "false", *COMMON,
    ],
    "probe:box": ["probe:box", "--normalize-observations", "true", *COMMON],
    "probe:tuple": [
        "probe:tuple", "--box-actions", "squash", "--std-function", "softplus",
        "--min-std", "0.01", "--entropy-coef", "0.01", *COMMON,
    ],
    "probe:picture_and_vector": [
        "probe:picture_and_vector", "--network", "auto", "--channel-multiplier", "0.25",
        "--feature-size", "32", "--normalize-observations", "true", *COMMON,
    ],
    # Heads on every side, losses that stop before the layers that are shared, and a bonus.
    "tasks": [
        "probe:beacon", *COMMON, "--shared-torso", "false", "--shared-layers", "1",
        "--recurrent", "gru", "--recurrent-size", "8", "--hidden-sizes", "12", "8",
        "--auxiliary-heads", "distance:regression@policy", "side:classes:2@shared.1",
        "--auxiliary-weights", "1", "0.5", "--shared-gradients", "policy", "auxiliary",
        "--bonus-rewards", "true", "--bonus-coef", "0.5", "--normalize-observations", "true",
        "--microbatch-size", "16", "--sequence-steps", "8", "--frozen-layers", "trunk.*.bias",
    ],
    # What the learning settings have, all at once.
    "options": [
        "CartPole-v1", *COMMON, "--clip-observations", "true", "--observation-clip", "2",
        "--reward-sign", "true", "--reward-bounds", "-3", "0.4",
        "--max-segment-steps", "16", "--value-target", "reward_to_go",
        "--bootstrap-clip", "-1", "2", "--bootstrap-clip-dynamic", "true",
        "--bootstrap-clip-schedule", "linear:2",
        "--normalize-values", "true", "--value-loss", "huber", "--huber-delta", "0.5",
        "--clip-values", "true", "--value-learning-rate", "2e-3",
        "--value-learning-rate-schedule", "one_cycle:0.1x@0.4", "--clip-gradients", "parts",
        "--clip-range-schedule", "cosine:0.1", "--entropy-coef", "0.02",
        "--entropy-coef-schedule", "log:0.1x@0.8", "--target-kl", "0.0001",
        "--kl-stop-factor", "1.5",
        "--soft-resets", "scheduled", "--soft-resets-from", "0.2", "--soft-resets-switches", "0.6",
    ],
}  # fmt: skip


def seldom(*case: object) -> Any:
    """Return a case for make test-faults alone: another test proves the same in every change.

    Mostly the same job that is stopped on some ranks and goes on on others: it has to end with the
    bits of one rank, and cannot unless the number of ranks is of no account.
    """
    return pytest.param(*case, marks=pytest.mark.faults)


ITERATION = 512
CLOCK = {"wall_seconds", "timesteps_per_second", *CLOCK_COLUMNS}
"""Columns of progress.csv that no two runs share."""


def newest(run_dir: Path) -> Path:
    """Return a run's newest checkpoint."""
    return checkpoints_of(run_dir)[0]


def arrays(run_dir: Path, stem: str) -> dict[str, np.ndarray]:
    """Return the arrays of one file of the newest checkpoint."""
    found: dict[str, np.ndarray] = load_file(newest(run_dir) / f"{stem}.safetensors")
    return found


def progress(run_dir: Path) -> list[dict[str, str]]:
    """Return the rows of progress.csv without what a clock measured."""
    with (run_dir / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{key: row[key] for key in row.keys() - CLOCK} for row in rows]


def episodes(run_dir: Path) -> str:
    """Return episodes.csv."""
    return (run_dir / "episodes.csv").read_text()


def assert_same_bits(run_dir: Path, other: Path, stems: tuple[str, ...]) -> None:
    """Compare files of the newest checkpoints bit for bit."""
    assert newest(run_dir).name == newest(other).name
    for stem in stems:
        one, two = arrays(run_dir, stem), arrays(other, stem)
        assert one.keys() == two.keys()
        different = [name for name in one if one[name].tobytes() != two[name].tobytes()]
        assert not different, f"{stem} differs in {different}"


def assert_near(run_dir: Path, other: Path, stem: str, relative: float) -> None:
    """Compare files of the newest checkpoints within a relative error."""
    one, two = arrays(run_dir, stem), arrays(other, stem)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=relative, err_msg=name)


def assert_same_progress(run_dir: Path, other: Path) -> None:
    """Compare all metrics of all iterations, as they are written."""
    one, two = progress(run_dir), progress(other)
    assert len(one) == len(two)
    for row, other_row in zip(one, two, strict=True):
        assert row.keys() == other_row.keys()
        for key, cell in row.items():
            assert cell == other_row[key], (key, row["iteration"])
