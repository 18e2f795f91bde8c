"""What an iteration does beside the policy's update."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_mpi.build import build_run
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.modes.train import run_iteration

COMM = Communicator()


@pytest.mark.parametrize("soft_resets", ["on", "off", "scheduled"])
def test_running_returns_go_on_only_if_the_episodes_do(soft_resets: str):
    config = with_values(
        TrainConfig(),
        {"env": "probe:terminal", "num_envs": 2, "rollout_timesteps": 14, "num_minibatches": 1,
         "hidden_sizes": (4,), "total_timesteps": 56, "soft_resets": soft_resets},
    )  # fmt: skip
    found = []
    for _ in range(2):
        run = build_run(config, COMM)
        assert run.reward_normalizer is not None
        for iteration in range(3):
            if found:  # the last rollout's episodes had other rewards
                run.reward_normalizer.returns += 100.0
            run_iteration(run, config, COMM)
            if soft_resets == "scheduled" and iteration == 1:  # on from half the job
                break
        found.append(run.reward_normalizer.moments.mean)
    assert np.array_equal(*found) == (soft_resets != "on")
