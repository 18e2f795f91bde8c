"""A run that is taken up before its first iteration begins as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppo_mpi.build import Run, build_run
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.iteration_clock import CLOCK_COLUMNS
from ppo_mpi.modes.train import run_iteration
from ppo_mpi.snapshot import restore, snapshot_of, state_of
from ppo_mpi.storage.checkpoint import Checkpoint

COMM = Communicator()


def config_for(env: str) -> TrainConfig:
    return with_values(
        TrainConfig(),
        {"env": env, "num_envs": 2, "rollout_timesteps": 16, "num_minibatches": 2},
    )


def checkpoint_of(run: Run, config: TrainConfig) -> Checkpoint:
    snapshot = snapshot_of(run)
    state = state_of(snapshot, config, COMM)
    tensors = {
        stem: {name: tensor.clone() for name, tensor in group.items()}
        for stem, group in snapshot.tensors.items()
    }
    return Checkpoint(Path("kept"), tensors, dict(snapshot.environments), state)


@pytest.mark.parametrize("env", ["gym:CartPole-v1", "gym:Acrobot-v1", "probe:match"])
@pytest.mark.parametrize("iterations", [0, 1])
def test_a_run_taken_up_at_its_beginning_or_later_plays_the_same(env, iterations):
    config = config_for(env)
    first = build_run(config, COMM)
    for _ in range(iterations):
        run_iteration(first, config, COMM)
    checkpoint = checkpoint_of(first, config)
    second = build_run(config, COMM, checkpoint.state)
    assert restore(second, checkpoint, COMM) == 0
    for _ in range(2):
        expected, _ = run_iteration(first, config, COMM)
        found, _ = run_iteration(second, config, COMM)
        same = [name for name in expected if name not in CLOCK_COLUMNS]
        np.testing.assert_equal([found[n] for n in same], [expected[n] for n in same])
        for obs, other in zip(first.collector.obs, second.collector.obs, strict=True):
            np.testing.assert_array_equal(obs, other)
    first.close()
    second.close()
