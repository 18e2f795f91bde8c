"""Probe environments: the best policy and the true value are learned, whatever the seed.

A reward of 1 in every step for ever is worth 1 / (1 - discount) = 10. The episodes are cut short
after ten steps: who took that for an end would learn a value of 6.5 or less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from seeds import SEEDS

from ppo_mpi import api
from ppo_mpi.agent import Agent
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.probe import COLORS
from ppo_mpi.networks.distributions import Categorical, DiagonalGaussian

VALUE = 1 / (1 - 0.9)


# The left part sees whether the goal is 0, the right one whether it is 1 or 2: it takes both.
SPLIT = {
    "network": "split", "split_start": 1, "left_hidden_sizes": (8,), "right_hidden_sizes": (8,),
    "joint_hidden_sizes": (16,), "activation": "leaky_relu", "initialization": "normc",
}  # fmt: skip


def learn(task: str, seed: int, comm: Communicator, folder: Path, **changed: Any) -> Agent:
    """Train with the preset ``probe`` and load what the checkpoint holds. Collective."""
    settings = {"seed": seed, "checkpoint_dir": str(folder), "display": "off", "run": "r"}
    assert api.train(f"probe:{task}", comm=comm, **settings, **changed) == 0
    agent = api.load_agent("r", checkpoint_dir=str(folder))
    assert agent.config.learning.discount == 0.9
    assert agent.timesteps == 81_920
    return agent


def probabilities_of(agent: Agent, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the policy's probabilities [N, A] and the values [N]."""
    with torch.no_grad():
        distribution, values = agent.model(obs)
    assert isinstance(distribution, Categorical)
    return distribution.log_probs.exp(), agent.model.in_returns(values)


@pytest.mark.parametrize("seed", SEEDS)
def test_ppo_learns_to_match_and_its_value_is_the_geometric_series(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    agent = learn("match", seed, comm, shared_tmp_path)
    probabilities, values = probabilities_of(agent, torch.eye(3))
    assert probabilities.diagonal().min() > 0.99
    assert values.tolist() == pytest.approx([VALUE] * 3, abs=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_ppo_learns_the_same_with_a_split_network(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    agent = learn("match", seed, comm, shared_tmp_path, **SPLIT)
    probabilities, values = probabilities_of(agent, torch.eye(3))
    assert probabilities.diagonal().min() > 0.99
    assert values.tolist() == pytest.approx([VALUE] * 3, abs=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_of_a_constant_reward_is_the_geometric_series_although_episodes_are_cut(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    agent = learn("constant", seed, comm, shared_tmp_path)
    _, values = probabilities_of(agent, torch.ones(1, 1))
    assert values.item() == pytest.approx(VALUE, abs=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_of_an_episode_that_ends_at_once_is_its_one_reward(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    agent = learn("terminal", seed, comm, shared_tmp_path)
    _, values = probabilities_of(agent, torch.ones(1, 1))
    assert values.item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_ppo_learns_a_continuous_action(comm: Communicator, shared_tmp_path: Path, seed: int):
    agent = learn("box", seed, comm, shared_tmp_path)
    goals = torch.linspace(-0.9, 0.9, 7)
    with torch.no_grad():
        distribution, values = agent.model(goals[:, None])
    assert isinstance(distribution, DiagonalGaussian)
    assert distribution.mode()[:, 0].tolist() == pytest.approx(goals.tolist(), abs=0.05)
    deviation = distribution.log_std.exp().max().item()
    assert deviation < 0.1  # it began with 1
    # What is left of the noise costs its variance in every step, for ever.
    assert values.tolist() == pytest.approx([-(deviation**2) * VALUE] * 7, abs=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_ppo_learns_from_images(comm: Communicator, shared_tmp_path: Path, seed: int):
    agent = learn("image", seed, comm, shared_tmp_path)
    images = torch.tensor(COLORS, dtype=torch.uint8)[:, None, None].expand(3, 8, 8, 3)
    probabilities, values = probabilities_of(agent, images)
    assert probabilities.diagonal().min() > 0.99
    assert values.tolist() == pytest.approx([VALUE] * 3, abs=0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_normalized_values_of_short_segments_are_the_geometric_series_too(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    options = {
        "max_segment_steps": 4, "value_target": "reward_to_go", "bootstrap_clip": (-20.0, 20.0),
        "normalize_values": True, "value_loss": "huber", "huber_delta": 1.0,
        "value_learning_rate": 6e-3, "clip_gradients": "parts",
    }  # fmt: skip
    agent = learn("match", seed, comm, shared_tmp_path, **options)
    probabilities, values = probabilities_of(agent, torch.eye(3))
    assert probabilities.diagonal().min() > 0.99
    assert values.tolist() == pytest.approx([VALUE] * 3, abs=0.2)
