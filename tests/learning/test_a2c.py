"""A2C learns: a probe environment with a known answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppo_mpi import api
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.networks.distributions import Categorical

VALUE = 1 / (1 - 0.9)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_to_match_and_its_value_is_the_geometric_series(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    settings = {
        "seed": seed, "checkpoint_dir": str(shared_tmp_path), "display": "off", "run": "r",
        "algorithm": "a2c", "num_epochs": 1, "num_minibatches": 1, "rollout_timesteps": 40,
        "gae_lambda": 1.0, "normalize_advantages": "none", "total_timesteps": 40_000,
        "log_every": 50, "checkpoint_every": 1_000,
    }  # fmt: skip
    assert api.train("probe:match", "probe", comm=comm, **settings).status == 0
    agent = api.load_agent("r", checkpoint_dir=str(shared_tmp_path))
    with torch.no_grad():
        distribution, values = agent.model(torch.eye(3))
    assert isinstance(distribution, Categorical)
    assert distribution.log_probs.exp().diagonal().min() > 0.98
    assert values.tolist() == pytest.approx([VALUE] * 3, abs=0.1)
