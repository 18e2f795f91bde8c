"""Curiosity keeps the promises: the same on any number of ranks, and after any interruption."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
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

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.rewards.rnd import job_moments

SMALL = ["--encoder-hidden-sizes", "16", "--reward-feature-size", "16", *COMMON]
JOBS = {
    "icm": [
        "CartPole-v1", "--normalize-observations", "true", "--reward-model", "icm",
        "--encoded-size", "8", "--reward-max-grad-norm", "0.5", *SMALL,
    ],
    "box": [
        "probe:box", "--reward-model", "icm", "--encoded-size", "0",
        "--normalize-intrinsic-rewards", "on", *SMALL,
    ],
    "rnd": [
        "probe:corridor-image", "--network", "mlp", "--reward-model", "rnd", "--reward-epochs", "1",
        "--rnd-output-size", "16", "--rnd-predictor-sizes", "16", "--rnd-update-proportion", "0.5",
        *SMALL,
    ],
    # Images and vectors together, of which the vectors are normalized; an encoder for each.
    "packed": [
        "probe:picture_and_vector", "--channel-multiplier", "0.25", "--feature-size", "32",
        "--normalize-observations", "true", "--reward-model", "icm", "--encoded-size", "8",
        "--reward-network", "mlp", *SMALL,
    ],
    "packed rnd": [
        "probe:picture_and_vector", "--channel-multiplier", "0.25", "--feature-size", "32",
        "--reward-model", "rnd", "--reward-epochs", "1", "--rnd-output-size", "16",
        "--rnd-predictor-sizes", "16", *SMALL,
    ],
    # A choice, a number and two switches at once, by a policy that splits what it sees.
    "tuple": [
        "probe:tuple", "--network", "split", "--split-start", "3", "--box-actions", "squash",
        "--reward-model", "icm", "--encoded-size", "8", "--intrinsic-weight-schedule", "linear",
        "--value-target", "reward_to_go", "--bootstrap-clip", "-1", "1",
        "--bootstrap-clip-dynamic", "true", "--bootstrap-clip-schedule", "linear:2", *SMALL,
    ],
}  # fmt: skip
OFTEN = (("icm", 3), ("rnd", 2), ("packed", 2), ("packed rnd", 3), ("tuple", 2))
"""Jobs and ranks that every change is tried with: each job, and on two ranks by turns."""
TENSORS = ("model", "optimizer", "reward_model", "reward_optimizer")


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Return a function that trains three iterations, once for each number of ranks."""
    folder = tmp_path_factory.mktemp("rewards")

    @functools.cache
    def train(job: str, ranks: int) -> Path:
        words = ["train", *JOBS[job], "--total-timesteps", str(3 * ITERATION)]
        turns = ["--turns", "2"] if ranks == 2 else []
        run_job(ranks, *words, *turns, "--run", f"{job}{ranks}", cwd=folder)
        return folder / "checkpoints" / f"{job}{ranks}"

    return train


def assert_same(run_dir: Path, other: Path) -> None:
    assert_same_bits(run_dir, other, TENSORS)
    assert_near(run_dir, other, "normalizers", relative=1e-12)
    assert_same_progress(run_dir, other)
    assert episodes(run_dir) == episodes(other)
    states = [json.loads((newest(path) / "state.json").read_text()) for path in (run_dir, other)]
    found, expected = (np.array([s["intrinsic_returns"][str(i)] for i in range(8)]) for s in states)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("job", "ranks"),
    [
        (job, ranks) if (job, ranks) in OFTEN else seldom(job, ranks)
        for job in JOBS
        for ranks in (1, 2, 3)
        if ranks > 1 or job in ("icm", "box", "rnd")
    ],
)
def test_the_number_of_ranks_does_not_change_what_a_reward_model_gives_and_learns(
    run_of: Callable[[str, int], Path], job: str, ranks: int
):
    assert_same(run_of(job, 0), run_of(job, ranks))


@pytest.mark.parametrize("job", JOBS)
def test_the_compared_runs_were_curious_and_learned(run_of: Callable[[str, int], Path], job: str):
    rows = progress(run_of(job, 0))
    assert len(rows) == 3
    assert all(float(row["intrinsic_reward_mean"]) > 0 for row in rows)
    assert float(rows[-1]["intrinsic_return_mean"]) > 0
    loss = "reward_model_loss"
    if "reward_model_inverse_loss" in rows[0]:
        loss = "reward_model_inverse_loss"
    assert float(rows[-1][loss]) < float(rows[0][loss])
    moments = arrays(run_of(job, 0), "reward_optimizer")
    assert all(np.any(v) for name, v in moments.items() if name.endswith("/exp_avg_sq"))
    assert not any(name.startswith("target") for name in moments)


def test_what_is_in_force_is_logged(run_of: Callable[[str, int], Path]):
    rows = progress(run_of("tuple", 0))
    weights = [float(row["intrinsic_weight"]) for row in rows]
    assert weights == pytest.approx([1, 2 / 3, 1 / 3])
    bounds = [(float(row["bootstrap_low"]), float(row["bootstrap_high"])) for row in rows]
    assert bounds[0] == (-1.0, 1.0)  # those given; then what was seen, times the factor
    assert 0 <= bounds[1][0] < bounds[1][1]  # this one's rewards, and curiosity's, are never less
    assert not {"bootstrap_low", "bootstrap_high"} & progress(run_of("icm", 0))[0].keys()


def test_a_run_from_before_there_were_these_columns_goes_on_with_them(tmp_path: Path):
    words = ["train", *JOBS["tuple"], "--total-timesteps", str(2 * ITERATION), "--run", "r"]
    run_job(0, *words, "--max-seconds", "0.001", cwd=tmp_path)
    path, new = tmp_path / "checkpoints/r/progress.csv", ("intrinsic_weight", "bootstrap_low")
    with path.open(newline="") as file:
        old = list(csv.DictReader(file))
    assert all(old[0].pop(name) for name in new)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(old[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(old)
    run_job(0, *words, cwd=tmp_path)
    rows = progress(tmp_path / "checkpoints/r")
    assert [row["iteration"] for row in rows] == ["1", "2"]
    assert [[bool(row[name]) for name in new] for row in rows] == [[False] * 2, [True] * 2]
    assert rows[0]["intrinsic_reward_mean"] == old[0]["intrinsic_reward_mean"]


@pytest.mark.parametrize("job", ["icm", "box", "rnd", "packed"])
def test_a_curious_run_goes_on_on_other_numbers_of_ranks_as_if_nothing_had_happened(
    run_of: Callable[[str, int], Path], job: str, tmp_path: Path
):
    words = ["train", *JOBS[job], "--total-timesteps", str(3 * ITERATION), "--run", "r"]
    for ranks in (3, 2):
        run_job(ranks, *words, "--max-seconds", "0.001", cwd=tmp_path)
    run_job(0, *words, "--max-seconds", "0", cwd=tmp_path)
    assert_same(tmp_path / "checkpoints" / "r", run_of(job, 0))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_moments_are_those_of_the_whole_job(comm: Communicator, dtype: str):
    random = np.random.default_rng(0)
    obs = torch.from_numpy(random.integers(0, 256, (6, 7, 3, 2)).astype(dtype))
    own = comm.shard(7)
    count, mean, variance = job_moments(obs[:, own.start : own.stop], comm)
    whole = job_moments(obs, Communicator())
    assert count == whole[0]
    np.testing.assert_array_equal(mean, whole[1])
    np.testing.assert_array_equal(variance, whole[2])
