"""The memory probe: who sees only the present answers by chance, who remembers is always right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from seeds import SEEDS

from ppo_mpi import api
from ppo_mpi.agent import Agent
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.probe_memory import BY_CHANCE, NUM_CUES, QUESTION, SHORTEST
from ppo_mpi.modes.evaluate import evaluate_agent

SETTINGS = {
    "num_envs": 16, "rollout_timesteps": 1024, "total_timesteps": 40_960, "shared_torso": True,
    "discount": 0.99, "learning_rate": 3e-3, "entropy_coef": 0.01, "display": "off", "run": "r",
    "recurrent_size": 32,
}  # fmt: skip
EPISODES = 300


def learn(comm: Communicator, folder: Path, task: str = "memory", **changed: object) -> Agent:
    """Train and load what the checkpoint holds. Collective."""
    settings = SETTINGS | {"checkpoint_dir": str(folder)} | changed
    assert api.train(f"probe:{task}", comm=comm, **settings) == 0
    return api.load_agent("r", checkpoint_dir=str(folder))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("kind", "sequence_steps"), [("gru", 0), ("lstm", 0), ("gru", 16), ("lstm", 16)]
)
def test_who_remembers_answers_right(
    comm: Communicator, shared_tmp_path: Path, kind: str, sequence_steps: int, seed: int
):
    agent = learn(comm, shared_tmp_path, recurrent=kind, sequence_steps=sequence_steps, seed=seed)
    result = evaluate_agent(agent, "train", EPISODES, 1, False, 32, comm)
    assert result.summary()["mean_return"] > 0.97
    # The value of a cue just seen is that of the answer which will be right.
    obs, memory = np.zeros((NUM_CUES, QUESTION + 1), np.float32), agent.no_memory(NUM_CUES)
    obs[:, :NUM_CUES] = np.eye(NUM_CUES)
    for _ in range(SHORTEST):
        acted = agent.act(obs, None, memory)
        obs, memory = np.zeros_like(obs), acted.memory
        assert acted.values.min() > 0.7
    obs[:, QUESTION] = 1
    assert agent.act(obs, None, memory).actions.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_sequences_that_are_shorter_than_episodes_begin_with_what_was_remembered(
    comm: Communicator, shared_tmp_path: Path, kind: str
):
    """No gradient reaches a cue from its question, but what reaches the question tells of it."""
    changed = {"recurrent": kind, "sequence_steps": 4, "total_timesteps": 81_920}
    agent = learn(comm, shared_tmp_path, **changed)
    result = evaluate_agent(agent, "train", EPISODES, 1, False, 32, comm)
    assert result.summary()["mean_return"] > 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_who_sees_only_the_present_answers_by_chance(
    comm: Communicator, shared_tmp_path: Path, seed: int
):
    agent = learn(comm, shared_tmp_path, recurrent_size=0, seed=seed)
    result = evaluate_agent(agent, "train", EPISODES, 1, False, 32, comm)
    spread = np.sqrt(BY_CHANCE * (1 - BY_CHANCE) / EPISODES)
    assert abs(result.summary()["mean_return"] - BY_CHANCE) < 4 * spread


def test_memory_is_learned_from_images(comm: Communicator, shared_tmp_path: Path):
    agent = learn(comm, shared_tmp_path, "memory-image", recurrent="lstm", network="mlp")
    result = evaluate_agent(agent, "train", EPISODES, 1, False, 32, comm)
    assert result.summary()["mean_return"] > 0.97


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_the_value_of_a_constant_reward_is_the_geometric_series_although_episodes_are_cut(
    comm: Communicator, shared_tmp_path: Path, kind: str
):
    changed = {"discount": 0.9, "entropy_coef": 0.0, "learning_rate": 1e-2}
    agent = learn(comm, shared_tmp_path, "constant", recurrent=kind, **changed)
    memory = agent.no_memory(1)
    values = []
    for _ in range(10):
        acted = agent.act(np.ones((1, 1), np.float32), None, memory)
        memory = acted.memory
        values.append(acted.values.item())
    assert values == pytest.approx([10.0] * 10, abs=0.3)
