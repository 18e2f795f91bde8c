"""The policy becomes an expert's, not the one that the environment pays for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from expert import write_contrary_expert

from ppo_mpi import api
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.networks.distributions import Categorical

SETTINGS = {
    "num_envs": 16, "rollout_timesteps": 1024, "network": "mlp", "hidden_sizes": (32,),
    "shared_torso": False, "discount": 0.9, "learning_rate": 1e-3, "display": "off", "run": "r",
    "extrinsic_weight": 0.0, "gail_first_epochs": 20, "gail_first_iterations": 3,
    "discriminator_hidden_sizes": (32,), "normalize_rewards": False, "reward_learning_rate": 3e-3,
    "entropy_coef": 0.0,
}  # fmt: skip


def probabilities(comm: Communicator, folder: Path, **settings: Any) -> torch.Tensor:
    """Train on the contrary expert of probe:match; return [goal, action]. Collective."""
    if comm.is_root:
        write_contrary_expert(folder / "e.npz")
    comm.barrier()  # collective
    settings = SETTINGS | {"checkpoint_dir": str(folder), **settings}
    assert api.train("probe:match", comm=comm, expert_data=str(folder / "e.npz"), **settings) == 0
    agent = api.load_agent("r", checkpoint_dir=str(folder))
    with torch.no_grad():
        distribution, _ = agent.model(torch.eye(3))
    assert isinstance(distribution, Categorical)
    return distribution.log_probs.exp()


@pytest.mark.parametrize(
    ("form", "seed"), [("logit", 0), ("logit", 1), ("positive", 0), ("negative", 0)]
)
def test_gail_finds_the_experts_actions(
    comm: Communicator, shared_tmp_path: Path, form: str, seed: int
):
    found = probabilities(
        comm, shared_tmp_path, reward_model="gail", gail_reward=form, seed=seed,
        total_timesteps=40 * 1024,
    )  # fmt: skip
    assert found[[0, 1, 2], [1, 2, 0]].min() > 0.9


def test_cloning_finds_them_before_the_first_iteration(comm: Communicator, shared_tmp_path: Path):
    found = probabilities(
        comm, shared_tmp_path, cloning_epochs=60, learning_rate=1e-9, total_timesteps=1024
    )
    assert found[[0, 1, 2], [1, 2, 0]].min() > 0.9
