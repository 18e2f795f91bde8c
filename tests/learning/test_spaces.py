"""Probes of several parts are learned, whatever the seed: every part of action and observation.

The best policy gets 1 in every step, which is worth 1 / (1 - discount) = 10; what is left of the
noise costs its share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seeds import SEEDS

from ppo_mpi import api
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.probe import TASKS
from ppo_mpi.envs.spaces import clipped

VALUE = 1 / (1 - 0.9)
SQUASH = {"box_actions": "squash"}
PROBES: dict[str, tuple[dict[str, Any], float]] = {  # settings, least mean reward of samples
    "multi_discrete": ({"total_timesteps": 24_576}, 0.98),
    "multi_binary": ({"total_timesteps": 24_576}, 0.98),
    "tight_box": (SQUASH, 0.93),
    "tuple": ({}, 0.92),
    "dict": (SQUASH | {"std_function": "softplus", "min_std": 0.01}, 0.9),
    "picture_and_vector": ({"feature_size": 32}, 0.98),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("probe", PROBES)
def test_every_part_is_learned_and_its_value_is_that_of_the_policy(
    comm: Communicator, shared_tmp_path: Path, probe: str, seed: int
):
    own, least = PROBES[probe]
    folder = str(shared_tmp_path)
    settings = {"total_timesteps": 40_960, "checkpoint_dir": folder, "display": "off"} | own
    assert api.train(f"probe:{probe}", comm=comm, seed=seed, run="r", **settings) == 0
    agent = api.load_agent("r", checkpoint_dir=folder)
    assert agent.config.learning.discount == 0.9
    task, random = TASKS[probe], np.random.default_rng(0)
    goals = [task.draw(random) for _ in range(400)]
    obs = np.stack([task.show(goal) for goal in goals])

    def rewards(noise: np.ndarray | None) -> np.ndarray:
        actions = clipped(task.action_spec, agent.act(obs, noise).actions)
        return np.array([task.reward(g, a) for g, a in zip(goals, actions, strict=True)])

    assert rewards(None).min() > 0.9
    sampled = np.mean([rewards(agent.noise_block(1, i, len(goals))) for i in range(10)])
    assert sampled > least
    values = agent.act(obs, None).values
    assert values.mean() == pytest.approx(VALUE * sampled, abs=0.1)
    assert values.tolist() == pytest.approx([VALUE * sampled] * len(goals), abs=0.5)
