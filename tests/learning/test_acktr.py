"""ACKTR learns probes with known answers, whatever the seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppo_mpi import api
from ppo_mpi.agent import Agent
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.networks.distributions import Categorical, DiagonalGaussian

VALUE = 1 / (1 - 0.9)


def learn(task: str, seed: int, comm: Communicator, folder: Path) -> Agent:
    """Train with the preset ``probe``, by ACKTR, and load what the checkpoint holds. Collective."""
    settings = {
        "algorithm": "acktr", "preset": "probe", "num_epochs": 1, "num_minibatches": 1,
        "learning_rate": 1.0, "max_grad_norm": 0.0, "rollout_timesteps": 128, "clip_values": True,
        "kl_clip": 3e-3, "total_timesteps": 51_200,
        "seed": seed, "checkpoint_dir": str(folder), "display": "off", "run": "r",
    }  # fmt: skip
    assert api.train(f"probe:{task}", comm=comm, **settings).status == 0
    return api.load_agent("r", checkpoint_dir=str(folder))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_acktr_learns_to_match_and_its_value_is_the_geometric_series(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    agent = learn("match", seed, comm, shared_tmp_path)
    with torch.no_grad():
        distribution, values = agent.model(torch.eye(3))
    assert isinstance(distribution, Categorical)
    assert distribution.log_probs.exp().diagonal().min() > 0.95
    assert values.tolist() == pytest.approx([VALUE] * 3, abs=0.5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_acktr_learns_a_continuous_action(comm: Communicator, shared_tmp_path: Path, seed: int):
    agent = learn("box", seed, comm, shared_tmp_path)
    goals = torch.linspace(-0.9, 0.9, 7)
    with torch.no_grad():
        distribution, _ = agent.model(goals[:, None])
    assert isinstance(distribution, DiagonalGaussian)
    assert distribution.mode()[:, 0].tolist() == pytest.approx(goals.tolist(), abs=0.3)
    assert distribution.log_std.exp().max().item() < 0.2  # it began with 1
