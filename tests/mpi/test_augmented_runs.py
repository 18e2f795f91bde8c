"""Runs on changed images keep the promises: on any number of ranks, and after any interruption."""

from __future__ import annotations

import functools
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
    progress,
    seldom,
)

SMALL = ["--channel-multiplier", "0.25", "--feature-size", "32"]
JOBS = {
    "drac": [
        "starpilot", *COMMON, *SMALL, "--num-levels", "20", "--augmentation", "color_jitter",
        "--microbatch-size", "50", "--reward-model", "rnd", "--reward-feature-size", "16",
        "--normalize-advantages", "minibatch",
    ],
    "rad": ["starpilot", *COMMON, *SMALL, "--num-levels", "20", "--augmentation-method", "rad",
            "--augmentation", "random_convolution", "--num-epochs", "1"],
    # A policy that remembers, on sequences of 24, 24 and 16 steps.
    "recurrent": [
        "starpilot", *COMMON, *SMALL, "--num-levels", "20", "--augmentation", "crop",
        "--recurrent", "gru", "--recurrent-size", "12", "--sequence-steps", "24",
    ],
    # An image beside a vector; the choice has been through its transforms when it is interrupted.
    "ucb": [
        "probe:picture_and_vector", *COMMON, *SMALL, "--network", "auto", "--augmentation", "ucb",
        "--ucb-choices", "crop", "flip", "--ucb-window", "2", "--normalize-observations", "true",
    ],
}  # fmt: skip
ITERATIONS = {"drac": 3, "rad": 2, "recurrent": 2, "ucb": 6}
WAYS = {"ranks1": 1, "ranks2": 2, "ranks3": 3, "threads": 0}
COMPARED: list[Any] = [("drac", "threads"), ("ucb", "ranks3")]
COMPARED += [seldom(job, "ranks3") for job in ("drac", "rad", "recurrent")]
COMPARED += [seldom("ucb", "ranks2"), seldom("ucb", "threads")]


def words_of(job: str) -> list[str]:
    return ["train", *JOBS[job], "--total-timesteps", str(ITERATIONS[job] * ITERATION)]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return a function that trains a job once for each way to start it: (job, how) -> its run."""
    folder = tmp_path_factory.mktemp("augmented")

    @functools.cache
    def train(job: str, how: str) -> Path:
        threads = ["--threads", "3"] if how == "threads" else []
        run_job(WAYS[how], *words_of(job), *threads, "--run", f"{job}-{how}", cwd=folder)
        return folder / "checkpoints" / f"{job}-{how}"

    return train


def assert_same(run_dir: Path, other: Path) -> None:
    assert_same_bits(run_dir, other, ("model", "optimizer"))
    assert_near(run_dir, other, "normalizers", relative=1e-6)  # the choice keeps float32's means
    assert_same_progress(run_dir, other)
    assert episodes(run_dir) == episodes(other)


@pytest.mark.parametrize(("job", "how"), COMPARED)
def test_a_run_on_changed_images_has_the_same_bits_on_any_number_of_ranks_and_threads(
    run_of: Callable[[str, str], Path], job: str, how: str
):
    assert_same(run_of(job, how), run_of(job, "ranks1"))


@pytest.mark.parametrize("job", JOBS)
def test_it_goes_on_on_other_numbers_of_ranks_as_if_nothing_had_happened(
    run_of: Callable[[str, str], Path], job: str, tmp_path: Path
):
    words = [*words_of(job), "--run", "r"]
    for ranks in (3, 2):
        run_job(ranks, *words, "--max-seconds", "0.001", cwd=tmp_path)
    run_job(0, *words, "--max-seconds", "0", cwd=tmp_path)
    assert_same(tmp_path / "checkpoints" / "r", run_of(job, "ranks1"))


def test_the_compared_runs_changed_their_images(run_of: Callable[[str, str], Path]):
    rows = progress(run_of("drac", "ranks1"))
    assert all(float(row["augmentation_policy_loss"]) > 0 for row in rows)
    assert all(float(row["augmentation_value_loss"]) > 0 for row in rows)
    run_dir = run_of("ucb", "ranks1")
    chosen = [float(row["augmentation"]) for row in progress(run_dir)]
    assert chosen[:2] == [1.0, 7.0]
    assert set(chosen) == {1.0, 7.0}
    kept = arrays(run_dir, "normalizers")
    assert kept["augmentation/counts"].sum() == 5
    assert kept["augmentation/returns"].shape == (2, 2)
    assert np.count_nonzero(kept["augmentation/returns"]) >= 3
