"""Policies that remember keep the promises: on any number of ranks, and after any interruption."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import run_job
from runs import (
    COMMON,
    ITERATION,
    arrays,
    assert_near,
    assert_same_bits,
    assert_same_progress,
    episodes,
    newest,
    progress,
    seldom,
)

JOBS = {
    # The 64 steps of a rollout are sequences of 20, 20, 20 and 4; one of 3 minibatches is uneven.
    "lstm": [
        "probe:memory", *COMMON, "--recurrent", "lstm", "--recurrent-size", "12",
        "--sequence-steps", "20", "--shared-torso", "false", "--eval-every", "2",
        "--eval-episodes", "5", "--normalize-advantages", "minibatch",
    ],
    # Fewer environments in a minibatch than ranks: some ranks have nothing of it.
    "gru": [
        "CartPole-v1", *COMMON, "--recurrent", "gru", "--num-minibatches", "8",
        "--normalize-observations", "true", "--normalize-values", "true", "--reward-model", "rnd",
        "--encoder-hidden-sizes", "16", "--rnd-predictor-sizes", "16", "--hidden-sizes", "10",
    ],
    "images": [
        "starpilot", *COMMON, "--recurrent", "gru", "--sequence-steps", "24",
        "--channel-multiplier", "0.25", "--feature-size", "32", "--num-levels", "20",
        "--num-test-envs", "2", "--microbatch-size", "50",
    ],
}  # fmt: skip
WAYS = {
    "ranks1": (1, []),
    "ranks2": (2, []),
    "ranks3": (3, []),
    "threads": (0, ["--threads", "3"]),
    "turns": (2, ["--turns", "2", "--transport", "torch"]),
}
COMPARED: list[Any] = [("lstm", "ranks3"), ("lstm", "turns"), ("gru", "turns")]
COMPARED += [("lstm", "threads"), ("images", "turns"), seldom("images", "threads")]
COMPARED += [seldom(*case) for case in (("lstm", "ranks2"), ("gru", "ranks2"), ("gru", "ranks3"))]
COMPARED += [seldom("images", "ranks3")]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return a function that trains a job once for each way to start it: (job, how) -> its run."""
    folder = tmp_path_factory.mktemp("recurrent")

    @functools.cache
    def train(job: str, how: str) -> Path:
        ranks, options = WAYS[how]
        words = ["train", *JOBS[job], "--total-timesteps", str(4 * ITERATION), *options]
        run_job(ranks, *words, "--run", f"{job}-{how}", cwd=folder)
        return folder / "checkpoints" / f"{job}-{how}"

    return train


def memories(run_dir: Path) -> dict[str, np.ndarray]:
    """Return what the newest checkpoint holds of what the policy remembers, by its key."""
    return {
        name: array.view("<f4")
        for name, array in arrays(run_dir, "environments").items()
        if "_memory/" in name
    }


def assert_same(run_dir: Path, other: Path) -> None:
    assert_same_bits(run_dir, other, ("model", "optimizer"))
    assert_near(run_dir, other, "normalizers", relative=1e-12)
    assert_same_progress(run_dir, other)
    assert episodes(run_dir) == episodes(other)
    found, expected = memories(run_dir), memories(other)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize(("job", "how"), COMPARED)
def test_a_recurrent_run_has_the_same_bits_on_any_number_of_ranks_and_threads(
    run_of: Callable[[str, str], Path], job: str, how: str
):
    assert_same(run_of(job, how), run_of(job, "ranks1"))


@pytest.mark.parametrize("job", JOBS)
def test_the_compared_runs_remembered_and_learned(run_of: Callable[[str, str], Path], job: str):
    run_dir = run_of(job, "ranks1")
    assert len(progress(run_dir)) == 4
    kept = memories(run_dir)
    num_envs = 8 + 2 * (job == "images")
    assert len(kept) == num_envs
    assert sum(bool(array.any()) for array in kept.values()) >= 3  # elsewhere an episode begins
    moments = arrays(run_dir, "optimizer")
    names = [name for name in moments if "recurrent" in name and name.endswith("/exp_avg_sq")]
    assert len(names) == (4 if job == "images" else 8)  # of each torso
    assert all(moments[name].any() for name in names)


@pytest.mark.parametrize("job", JOBS)
def test_a_recurrent_run_goes_on_on_other_numbers_of_ranks_as_if_nothing_had_happened(
    run_of: Callable[[str, str], Path], job: str, tmp_path: Path
):
    words = ["train", *JOBS[job], "--total-timesteps", str(4 * ITERATION), "--run", "r"]
    for ranks in (3, 2):
        run_job(ranks, *words, "--max-seconds", "0.001", cwd=tmp_path)
    run_job(0, *words, "--max-seconds", "0", cwd=tmp_path)
    assert_same(tmp_path / "checkpoints" / "r", run_of(job, "ranks1"))


def test_an_agent_that_remembers_is_evaluated_alike_on_any_number_of_ranks(
    run_of: Callable[[str, str], Path], tmp_path: Path
):
    run_dir = newest(run_of("lstm", "ranks1")).parent
    documents = []
    for ranks in (1, 2, 3):
        path = tmp_path / f"{ranks}.json"
        words = [
            "evaluate",
            "--run",
            str(run_dir),
            "--episodes",
            "23",
            "--num-envs",
            str(4 + ranks),
        ]
        run_job(ranks, *words, "--json", str(path), cwd=tmp_path)
        documents.append(path.read_text())
    assert len(set(documents)) == 1
    assert os.path.getsize(tmp_path / "1.json") > 500
