"""Real environments from Python: levels, pictures, and policies exported with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from ppo_mpi import api
from ppo_mpi.agent import Agent
from ppo_mpi.modes.export import export, verify

SMALL = {
    "num_envs": 2, "rollout_timesteps": 16, "total_timesteps": 16, "num_minibatches": 1,
    "num_epochs": 1, "channel_multiplier": 0.25, "feature_size": 16, "display": "off", "run": "r",
}  # fmt: skip


def trained(env: str, folder: Path, **settings: object) -> Agent:
    run = api.train(env, checkpoint_dir=str(folder), **SMALL, **settings)
    return run.agent(device="cpu", precision="float32")


def test_procgen_levels_are_those_of_an_evaluation_or_the_one_asked_for(tmp_path: Path):
    pytest.importorskip("procgen")
    agent = trained("starpilot", tmp_path, num_levels=4)
    wanted = api.evaluate(agent, 2, "test", greedy=True, seed=3).episodes
    env = agent.make_env(3, "test", "rgb_array")
    check_env(env, skip_render_check=True)
    env.reset(seed=3)
    for episode in wanted:
        obs, info = env.reset(seed=3) if episode.episode == 0 else env.reset()
        assert info["level"] == episode.level
        total, done = 0.0, False
        while not done:
            obs, reward, terminated, truncated, info = env.step(
                agent.predict(obs, deterministic=True)[0]
            )
            total, done = total + reward, terminated or truncated
            assert info["level"] == episode.level
        assert total == episode.episode_return
    obs, info = env.reset(options={"level": 77})
    assert (info["level"], obs.dtype, obs.shape) == (77, np.uint8, (64, 64, 3))
    assert env.render().shape == (512, 512, 3)
    steps = api.collect(agent, timesteps=3, levels="5,6", forced=4, activations=["policy"])
    assert steps["actions"].tolist() == [4, 4, 4]
    assert (steps["observations"].shape, steps["episode_levels"].tolist()) == ((3, 64, 64, 3), [5])


@pytest.mark.parametrize("file_format", ["torchscript", "onnx"])
def test_atari_policies_are_exported(file_format: str, tmp_path: Path):
    pytest.importorskip("ale_py")
    if file_format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    agent = trained("atari:Pong", tmp_path, network="nature")
    metadata = export(agent, file_format, tmp_path / "policy")
    assert metadata["observation"]["shape"] == [84, 84, 4]
    largest, differing, _ = verify(agent, file_format, tmp_path / "policy")
    assert (differing, max(largest.values()) < 1e-4) == (0, True)
    action, _ = agent.predict(agent.make_env().reset()[0])
    assert action in agent.spaces.actions
