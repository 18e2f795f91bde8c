"""Rewards that nobody finds by chance: curiosity leads to them, PPO alone does not get there."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import progress
from seeds import SEEDS

from ppo_mpi import api
from ppo_mpi.distributed.communicator import Communicator

SETTINGS = {
    "num_envs": 16, "rollout_timesteps": 1024, "total_timesteps": 81_920, "discount": 0.99,
    "learning_rate": 1e-3, "learning_rate_schedule": "constant", "entropy_coef": 0.01,
    "encoder_hidden_sizes": (64,), "encoded_size": 64, "inverse_hidden_sizes": (64,),
    "forward_hidden_sizes": (64,), "rnd_output_size": 64, "rnd_predictor_sizes": (64,),
    "network": "mlp", "display": "off", "run": "r",
}  # fmt: skip


def returns(
    task: str, model: str, seed: int, comm: Communicator, folder: Path, **settings: object
) -> list[float]:
    """Train, and return the mean return of the last 100 episodes after each iteration."""
    settings = SETTINGS | {"checkpoint_dir": str(folder)} | settings
    trained = api.train(f"probe:{task}", comm=comm, reward_model=model, seed=seed, **settings)
    assert trained == 0
    rows = progress(folder / "r")
    assert ("intrinsic_reward_mean" in rows[0]) == (model != "none")
    return [float(row["mean_return"] or 0) for row in rows]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("model", ["icm", "rnd"])
def test_curiosity_finds_the_reward_at_the_end_of_the_corridor(
    comm: Communicator, shared_tmp_path: Path, model: str, seed: int
):
    found = returns("corridor", model, seed, comm, shared_tmp_path)
    assert found[9] == 0, "by chance nobody gets there"
    assert found[-1] > 0.9


@pytest.mark.parametrize("model", ["icm", "rnd"])
def test_curiosity_finds_it_in_images(comm: Communicator, shared_tmp_path: Path, model: str):
    found = returns("corridor-image", model, 0, comm, shared_tmp_path, reward_network="mlp")
    assert found[-1] > 0.9


@pytest.mark.parametrize(
    ("task", "seed"), [("corridor", 0), ("corridor", 1), ("corridor", 2), ("corridor-image", 0)]
)
def test_without_curiosity_nobody_ever_gets_there(
    comm: Communicator, shared_tmp_path: Path, task: str, seed: int
):
    assert set(returns(task, "none", seed, comm, shared_tmp_path)) == {0.0}


@pytest.mark.parametrize(("model", "low", "high"), [("icm", -140, -83), ("none", -200, -200)])
def test_curiosity_drives_the_car_up_the_mountain(
    comm: Communicator, shared_tmp_path: Path, model: str, low: float, high: float
):
    """Five seeds came to -114 to -125 (docs/curiosity.md)."""
    folder = str(shared_tmp_path)
    settings = {"seed": 0, "checkpoint_dir": folder, "display": "off", "run": "r"}
    trained = api.train(
        "MountainCar-v0", preset="mountaincar-icm", comm=comm, reward_model=model, **settings
    )
    assert trained == 0
    assert low <= float(progress(shared_tmp_path / "r")[-1]["mean_return"]) <= high
