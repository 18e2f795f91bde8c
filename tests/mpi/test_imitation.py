"""Imitation keeps the promises: recorded, cloned and imitated the same on any number of ranks."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from expert import trajectories
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
)

from ppo_mpi.envs.spaces import Box, ObservationSpec
from ppo_mpi.storage.trajectories import read_trajectories, write_trajectories

GAIL = ["--reward-model", "gail", "--gail-batch-size", "60", "--gail-first-epochs", "3",
        "--gail-first-iterations", "1", "--gail-epochs", "2", "--discriminator-hidden-sizes", "16",
        "--reward-learning-rate", "1e-3", *COMMON]  # fmt: skip
JOBS = {
    "cart": ["CartPole-v1", "--normalize-observations", "true", "--expert-data", "cart.npz",
             "--gail-reward", "positive", "--extrinsic-weight", "0", "--cloning-epochs", "2",
             "--expert-subsample", "2", *GAIL],
    "box": ["probe:box", "--box-actions", "squash", "--expert-data", "box.npz", *GAIL],
    "memory": ["CartPole-v1", "--expert-data", "cart.npz", "--cloning-epochs", "2", "--recurrent",
               "gru", "--recurrent-size", "8", *COMMON],
}  # fmt: skip
TENSORS = ("model", "optimizer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two experts' data; one of them was recorded."""
    place = tmp_path_factory.mktemp("imitation")
    run_job(0, "train", "CartPole-v1", *COMMON, "--total-timesteps", str(ITERATION), "--run", "e",
            cwd=place)  # fmt: skip
    words = ["record", "e", "--trajectories", "5", "--output"]
    run_job(0, *words, "cart.npz", cwd=place)
    box = ObservationSpec((1,), "float32")
    made = trajectories((40, 9, 30), box, Box((-1.0,), (1.0,)))
    write_trajectories(place / "box.npz", made, clobber=False)
    return place


@pytest.fixture(scope="module")
def run_of(folder: Path) -> Callable[[str, int], Path]:
    """Return a function that trains three iterations, once for each number of ranks."""

    @functools.cache
    def train(job: str, ranks: int) -> Path:
        words = ["train", *JOBS[job], "--total-timesteps", str(3 * ITERATION)]
        run_job(ranks, *words, "--run", f"{job}{ranks}", cwd=folder)
        return folder / "checkpoints" / f"{job}{ranks}"

    return train


def assert_same(run_dir: Path, other: Path) -> None:
    imitates = "reward_model_loss" in progress(other)[0]
    rewarder = ("reward_model", "reward_optimizer") if imitates else ()
    assert_same_bits(run_dir, other, (*TENSORS, *rewarder))
    assert_near(run_dir, other, "normalizers", relative=1e-12)
    assert_same_progress(run_dir, other)
    assert episodes(run_dir) == episodes(other)


@pytest.mark.parametrize("ranks", [2, 3])
def test_trajectories_are_the_same_bytes_on_any_number_of_ranks(folder: Path, ranks: int):
    words = ["record", "e", "--trajectories", "5", "--output", f"r{ranks}.npz"]
    done = run_job(ranks, *words, cwd=folder)
    assert done.stdout.count("wrote r") == 1
    assert (folder / f"r{ranks}.npz").read_bytes() == (folder / "cart.npz").read_bytes()
    done = run_job(ranks, *words, cwd=folder, status=2)
    assert done.stderr.count(f"r{ranks}.npz exists; use another --output, or --clobber") == 1
    run_job(ranks, *words, "--clobber", "--seed", "3", cwd=folder)
    assert (folder / f"r{ranks}.npz").read_bytes() != (folder / "cart.npz").read_bytes()


def test_what_is_recorded_is_what_happened(folder: Path):
    found = read_trajectories(folder / "cart.npz")
    assert found.num_episodes == 5
    lengths = np.diff(found.episode_bounds)
    assert found.returns.tolist() == lengths.tolist()  # CartPole pays 1 for each step
    assert found.final_known.all()
    assert found.terminated[found.episode_bounds[1:] - 1].all()
    facts = found.metadata
    assert (facts["env"], facts["run"], facts["seed"]) == ("gym:CartPole-v1", "e", 1_000_003)
    assert facts["checkpoint"] == f"step-{ITERATION:012d}"
    # Each observation is what the physics make of the one before: the cart moves by its speed.
    obs = np.concatenate([found.observations[: lengths[0]], found.final_observations[:1]])
    np.testing.assert_allclose(obs[1:, 0], obs[:-1, 0] + 0.02 * obs[:-1, 1], atol=1e-5)
    push = np.where(found.actions[: lengths[0]] == 1, 1, -1)
    assert (np.sign(np.diff(obs[:, 1])) == push).all()


@pytest.mark.parametrize(("job", "ranks"), [("cart", 2), ("cart", 3), ("box", 2), ("memory", 2)])
def test_the_number_of_ranks_does_not_change_what_is_imitated(
    run_of: Callable[[str, int], Path], job: str, ranks: int
):
    assert_same(run_of(job, 0), run_of(job, ranks))


def test_the_compared_runs_learned_from_the_expert(run_of: Callable[[str, int], Path]):
    for job in ("cart", "box"):
        rows = progress(run_of(job, 0))
        assert all(0 < float(row["reward_model_gradient_penalty"]) < 10 for row in rows)
        assert len({row["reward_model_expert_accuracy"] for row in rows}) > 1
        moments = arrays(run_of(job, 0), "reward_optimizer")
        assert all(np.any(v) for name, v in moments.items() if name.endswith("/exp_avg_sq"))
    state = json.loads((newest(run_of("cart", 0)) / "state.json").read_text())
    assert len(state["expert"]) == 64


def test_a_run_that_was_stopped_goes_on_with_the_same_expert_wherever_it_lies(
    run_of: Callable[[str, int], Path], folder: Path, tmp_path: Path
):
    words = ["train", *JOBS["cart"], "--total-timesteps", str(3 * ITERATION), "--run", "r"]
    shutil.copy(folder / "cart.npz", tmp_path / "cart.npz")
    run_job(3, *words, "--max-seconds", "0.001", cwd=tmp_path)
    (tmp_path / "cart.npz").rename(tmp_path / "moved.npz")
    words[words.index("cart.npz")] = "moved.npz"
    done = run_job(2, *words, "--max-seconds", "0.001", cwd=tmp_path)
    assert "cloning: epoch" not in done.stdout + done.stderr
    words[words.index("moved.npz")] = str(folder / "r.npz")
    run_job(0, "record", "e", "--trajectories", "2", "--output", "r.npz", cwd=folder)
    done = run_job(2, *words, "--max-seconds", "0", cwd=tmp_path, status=2)
    assert done.stderr.count("is not what the run began with") == 1
    words[words.index(str(folder / "r.npz"))] = "moved.npz"
    run_job(0, *words, "--max-seconds", "0", cwd=tmp_path)
    assert_same(tmp_path / "checkpoints" / "r", run_of("cart", 0))


def test_a_run_without_an_expert_is_refused_once_and_leaves_nothing(tmp_path: Path):
    words = ["train", "CartPole-v1", *GAIL, "--run", "r"]
    done = run_job(2, *words, cwd=tmp_path, status=2)
    assert done.stderr.count("reward_model=gail needs an expert; give its data with") == 1
    done = run_job(2, *words, "--expert-data", "none.npz", cwd=tmp_path, status=2)
    assert done.stderr.count("cannot read none.npz (No such file or directory)") == 1
    assert not (tmp_path / "checkpoints" / "r" / "config.yaml").exists()
