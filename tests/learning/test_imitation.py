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
    "num_envs": 16,
    "rollout_timesteps": 1024,
    "network": "mlp",
    "hidden_sizes": (32,),
    "shared_torso": False,
    "discount": 0.9,
    "learning_rate": 1e-3,
    "display": "off",
    "run": "r",
    "normalize_rewards": False,
    "entropy_coef": 0.0,
}
GAIL = {
    "reward_model": "gail", "extrinsic_weight": 0.0, "discriminator_hidden_sizes": (32,),
    "gail_first_epochs": 20, "gail_first_iterations": 3, "gail_batch_size": 40,
    "gradient_penalty": 1.0, "reward_learning_rate": 3e-3, "total_timesteps": 32 * 1024,
}  # fmt: skip


def probabilities(comm: Communicator, folder: Path, **settings: Any) -> torch.Tensor:
    """Train on the contrary expert of probe:match; return [goal, action]. Collective."""
    if comm.is_root:
        write_contrary_expert(folder / "e.npz")
    comm.barrier()  # collective
    settings = SETTINGS | {"checkpoint_dir": str(folder), **settings}
    settings |= {"expert_data": str(folder / "e.npz")}
    assert api.train("probe:match", comm=comm, **settings).status == 0
    agent = api.load_agent("r", checkpoint_dir=str(folder))
    with torch.no_grad():
        distribution, _ = agent.model(torch.eye(3))
    assert isinstance(distribution, Categorical)
    return distribution.log_probs.exp()


@pytest.mark.parametrize(("form", "seed"), [("logit", 1), ("positive", 0), ("negative", 0)])
def test_gail_finds_the_experts_actions(
    comm: Communicator, shared_tmp_path: Path, form: str, seed: int
):
    found = probabilities(comm, shared_tmp_path, gail_reward=form, seed=seed, **GAIL)
    assert found[[0, 1, 2], [1, 2, 0]].min() > 0.9


def test_cloning_finds_them_before_the_first_iteration(comm: Communicator, shared_tmp_path: Path):
    found = probabilities(
        comm,
        shared_tmp_path,
        cloning_epochs=40,
        cloning_learning_rate=1e-2,
        learning_rate=1e-9,
        total_timesteps=1024,
    )
    assert found[[0, 1, 2], [1, 2, 0]].min() > 0.9
