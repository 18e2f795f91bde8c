"""Videos of what an agent thinks, and what is written down beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("procgen")

from ppo_mpi.agent import Agent
from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.record import record
from ppo_mpi.settings.record import RecordConfig
from ppo_mpi.suites import make_envs


def agent_in(env: str, **values: Any) -> Agent:
    small = {"precision": "float32", "channel_multiplier": 0.25, "feature_size": 16}
    config = with_values(TrainConfig(), {"env": env, **small, **values})
    envs = make_envs(config, (), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    with torch.no_grad():
        model.policy_head.weight.mul_(50)
    return Agent(config, Path("r"), 0, model, None, Path())


def test_values_and_saliency_are_shown_and_what_was_thought_is_written_down(tmp_path: Path) -> None:
    agent = agent_in("fruitbot", num_levels=5)
    config = RecordConfig(
        seconds=4, size=128, agent_view=True, saliency=True, values=True, caption=True,
        greedy=True, output=str(tmp_path), grid="1x2",
    )  # fmt: skip
    (video,) = record(agent, config)
    # Three pictures, a curve an eighth as high as wide, and a caption of two lines.
    assert video.width == 2 * 3 * 128
    assert video.height > 128 + 3 * 128 // 8
    notes = np.load(video.path.with_suffix(".npz"))
    assert set(notes) == {"observations", "values", "actions", "episodes", "levels", "steps"}
    rows = len(notes["values"])
    assert 59 < rows <= 2 * 59
    assert notes["observations"].shape == (rows, 64, 64, 3)
    assert set(notes["levels"]) <= set(range(5))
    assert {0, 1} <= set(notes["episodes"])
    again = [agent.act(obs[None], None) for obs in notes["observations"]]
    values = np.array([own.values[0] for own in again])
    np.testing.assert_allclose(notes["values"], values, rtol=1e-4, atol=1e-5)
    sure = [i for i, own in enumerate(again) if np.ptp(np.sort(own.probabilities[0])[-2:]) > 1e-4]
    assert sure
    np.testing.assert_array_equal(
        notes["actions"][sure], np.array([own.actions[0] for own in again])[sure]
    )
    both = [(e, s) for e, s in zip(notes["episodes"], notes["steps"], strict=True)]
    assert len(set(both)) == rows


def test_the_derivative_of_the_value_predicts_how_it_changes() -> None:
    agent = agent_in("fruitbot", num_levels=5)
    envs = agent.make_envs(3, 1, stream="evaluate")
    obs = envs.reset()
    envs.close()
    values, gradient = agent.value_gradient(obs)
    np.testing.assert_allclose(values, agent.act(obs, None).values, rtol=1e-4, atol=1e-5)
    assert gradient.shape == obs.shape
    for slot in range(3):  # along the gradient itself, by up to a twentieth of a gray level
        size = np.abs(gradient[slot]).max()
        step = torch.from_numpy(gradient[slot] * (0.05 / size))[None]
        here = torch.from_numpy(obs[slot])[None].float()
        with torch.enable_grad():  # the pass that takes pixels which are no whole numbers
            up, down = (agent.model((here + sign * step).clone())[1] for sign in (1, -1))
        expected = 2 * float((torch.from_numpy(gradient[slot]) * step[0]).sum())
        assert float((up - down).detach()) == pytest.approx(expected, rel=0.05)


def test_saliency_without_pictures_is_refused_and_values_are_not(tmp_path: Path) -> None:
    agent = agent_in("CartPole-v1")
    with pytest.raises(ConfigError, match="saliency=True, but what the agent of r sees"):
        record(agent, RecordConfig(seconds=1, saliency=True, output=str(tmp_path)))
    (video,) = record(agent, RecordConfig(seconds=1, values=True, output=str(tmp_path)))
    assert np.load(video.path.with_suffix(".npz"))["observations"].shape[1:] == (4,)


def test_a_recurrent_agents_value_is_that_of_what_it_remembers() -> None:
    agent = agent_in("fruitbot", recurrent="gru", recurrent_size=8)
    with torch.no_grad():
        agent.model.value_head.weight.mul_(50)
    obs = make_envs(agent.config, range(2), 0, "x").reset()
    fresh = agent.no_memory(2)
    later = agent.act(obs, None, fresh).memory
    for memory in (fresh, later):
        values, gradient = agent.value_gradient(obs, memory)
        expected = agent.act(obs, None, memory).values
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
        assert np.abs(gradient).max() > 0
    assert not np.allclose(agent.value_gradient(obs, fresh)[0], values)
