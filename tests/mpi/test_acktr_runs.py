"""Runs with ACKTR: the same on any number of ranks, and resumed between two decompositions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jobs import run_job
from runs import arrays, assert_same_bits, assert_same_progress, episodes, newest

ITERATION = 128
# Eight environments: three ranks have 3, 3 and 2 of them. Decompositions are of every third step.
COMMON = [
    "--algorithm", "acktr", "--num-envs", "8", "--rollout-timesteps", str(ITERATION),
    "--num-epochs", "1", "--num-minibatches", "1", "--learning-rate", "0.25", "--seed", "3",
    "--eigen-every", "3", "--precision", "float32", "--display", "off",
]  # fmt: skip
JOBS = {
    "vector": ["CartPole-v1", "--normalize-values", "true", "--value-learning-rate", "0.1",
               "--microbatch-size", "5", "--curvature-every", "2", *COMMON],
    "image": ["probe:image", "--network", "impala", "--channel-multiplier", "0.25",
              "--feature-size", "16", *COMMON],
    "numbers": ["probe:tuple", "--box-actions", "squash", "--std-function", "softplus",
                "--shared-torso", "false", "--value-kl-clip", "0.01", *COMMON],
}  # fmt: skip


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Return a function that trains five iterations at once: (job, ranks) -> its run."""
    folder = tmp_path_factory.mktemp("acktr")

    @functools.cache
    def train(job: str, ranks: int) -> Path:
        name = f"{job}{ranks}"
        words = ["train", *JOBS[job], "--total-timesteps", str(5 * ITERATION), "--run", name]
        run_job(ranks, *words, cwd=folder)
        return folder / "checkpoints" / name

    return train


@pytest.mark.parametrize(("job", "ranks"), [("vector", 3), ("image", 2), ("numbers", 3)])
def test_the_number_of_ranks_does_not_change_the_result(
    run_of: Callable[[str, int], Path], job: str, ranks: int
):
    one, other = run_of(job, 0), run_of(job, ranks)
    assert_same_bits(one, other, ("model", "optimizer"))
    assert_same_progress(one, other)
    assert episodes(one) == episodes(other)
    state = arrays(one, "optimizer")
    assert state["curvature/steps"] == 5
    assert all(np.any(x) for name, x in state.items() if name.endswith(("/factor", "/momentum")))


@pytest.mark.parametrize(("job", "ranks"), [("vector", (0, 2, 0))])
def test_a_run_that_was_stopped_between_decompositions_is_the_run_that_was_not(
    run_of: Callable[[str, int], Path], tmp_path: Path, job: str, ranks: tuple[int, ...]
):
    words = ["train", *JOBS[job], "--total-timesteps", str(5 * ITERATION), "--run", "r"]
    for number in ranks[:-1]:
        run_job(number, *words, "--max-seconds", "0.001", cwd=tmp_path)
    run_dir = tmp_path / "checkpoints" / "r"
    assert newest(run_dir).name == f"step-{(len(ranks) - 1) * ITERATION:012d}"
    run_job(ranks[-1], *words, "--max-seconds", "0", cwd=tmp_path)
    assert_same_bits(run_dir, run_of(job, 0), ("model", "optimizer"))
    assert_same_progress(run_dir, run_of(job, 0))
