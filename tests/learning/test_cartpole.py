"""CartPole-v1 with its preset, within 100,000 timesteps."""

from __future__ import annotations

from pathlib import Path

from ppo_mpi import api
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.modes.evaluate import evaluate_agent

SOLVED = 475
"""Mean return that the environment's authors call solved; 500 is the most there is."""


def test_cartpole_is_solved_within_100_000_timesteps(comm: Communicator, shared_tmp_path: Path):
    settings = {"total_timesteps": 100_000, "checkpoint_dir": str(shared_tmp_path), "run": "r"}
    assert api.train("CartPole-v1", comm=comm, seed=0, display="off", **settings).status == 0
    agent = api.load_agent("r", checkpoint_dir=str(shared_tmp_path))
    assert agent.timesteps <= 100_000
    result = evaluate_agent(agent, "train", 100, 1_000_003, True, 32, comm)
    assert len(result.episodes) == 100
    assert result.summary()["mean_return"] >= SOLVED
