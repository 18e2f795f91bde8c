"""Phasic policy gradient learns: probe environments with a known answer, and CartPole-v1."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppo_mpi import api
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.networks.distributions import Categorical

VALUE = 1 / (1 - 0.9)
SOLVED = 475


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_to_match_and_both_its_values_are_the_geometric_series(
    comm: Communicator, shared_tmp_path: Path, seed: int, shared: bool
):
    settings = {"seed": seed, "checkpoint_dir": str(shared_tmp_path), "display": "off", "run": "r"}
    phases = {"algorithm": "ppg", "policy_iterations": 4, "aux_epochs": 3}
    phases["aux_minibatches"] = 4
    run = api.train("probe:match", comm=comm, shared_torso=shared, **settings, **phases)
    assert run.status == 0
    agent = api.load_agent("r", checkpoint_dir=str(shared_tmp_path))
    with torch.no_grad():
        distribution, _ = agent.model(torch.eye(3))
        _, values, aux_values = agent.model.auxiliary(torch.eye(3))
    assert isinstance(distribution, Categorical)
    assert distribution.log_probs.exp().diagonal().min() > 0.98
    assert values.tolist() == pytest.approx([VALUE] * 3, abs=0.2)
    assert (aux_values is None) == shared
    if aux_values is not None:  # what the policy's torso has learned from the values
        assert aux_values.tolist() == pytest.approx([VALUE] * 3, abs=0.3)


def test_cartpole_is_solved_within_100_000_timesteps(comm: Communicator, shared_tmp_path: Path):
    settings = {"checkpoint_dir": str(shared_tmp_path), "run": "r", "display": "off"}
    run = api.train("CartPole-v1", comm=comm, preset="cartpole-ppg", seed=0, **settings)
    assert run.status == 0
    agent = api.load_agent("r", checkpoint_dir=str(shared_tmp_path))
    assert agent.timesteps <= 100_000
    result = evaluate_agent(agent, "train", 100, 1_000_003, True, 32, comm)
    assert result.summary()["mean_return"] >= SOLVED
