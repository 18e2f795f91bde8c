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


def metrics_of(**values: object) -> list[dict[str, float]]:
    """Return the metrics of two iterations of two."""
    fixed = {"env": "probe:match", "num_envs": 2, "rollout_timesteps": 14, "num_minibatches": 1,
             "hidden_sizes": (4,), "total_timesteps": 28, "encoder_hidden_sizes": (4,)}  # fmt: skip
    config = with_values(TrainConfig(), fixed | values)
    run = build_run(config, COMM)
    return [run_iteration(run, config, COMM)[0] for _ in range(2)]


def test_the_weight_of_curiosity_in_force_is_a_column_where_there_is_one():
    found = metrics_of(
        reward_model="icm", intrinsic_weight=0.5, intrinsic_weight_schedule="linear:0.1"
    )
    assert [own["intrinsic_weight"] for own in found] == pytest.approx([0.5, 0.3])
    constant = metrics_of(reward_model="rnd", intrinsic_weight=0.5)
    assert [own["intrinsic_weight"] for own in constant] == [0.5, 0.5]
    assert "intrinsic_weight" not in metrics_of(intrinsic_weight=0.5)[0]


def test_the_bounds_of_bootstraps_in_force_are_columns_where_there_are_some():
    target = {"value_target": "reward_to_go", "normalize_rewards": False}
    given = metrics_of(**target, bootstrap_clip=(-4.0, 2.0), bootstrap_clip_schedule="linear:3")
    names = ("bootstrap_low", "bootstrap_high")
    assert [[own[name] for name in names] for own in given] == [[-4.0, 2.0], [-8.0, 4.0]]
    seen = metrics_of(**target, bootstrap_clip=(-4.0, 2.0), bootstrap_clip_dynamic=True)
    assert [[own[name] for name in names] for own in seen] == [[-4.0, 2.0], [0.0, 1.0]]
    assert not set(names) & metrics_of(**target)[0].keys()
