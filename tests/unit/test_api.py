"""Training from Python, and what comes back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ppo_mpi import api
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError

SMALL = {
    "num_envs": 2,
    "rollout_timesteps": 32,
    "num_minibatches": 2,
    "num_epochs": 1,
    "display": "off",
    "hidden_sizes": [8, 8],
}


def test_the_same_call_goes_on_with_its_run_though_python_has_lists(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for total in (32, 64):
        run = api.train("CartPole-v1", run="r", total_timesteps=total, **SMALL)
        assert run.status == 0
    assert run.path == Path("checkpoints/r")
    assert [row["timesteps"] for row in run.progress] == [32, 64]
    assert run.config.job.total_timesteps == 64
    assert run.checkpoints[0].name == "step-000000000064"


def test_a_run_has_its_agent_and_its_evaluation(tmp_path: Path) -> None:
    settings = {"checkpoint_dir": str(tmp_path), "run": "r", "total_timesteps": 32, **SMALL}
    run = api.train("CartPole-v1", **settings)
    agent = run.agent()
    assert (agent.run_name, agent.timesteps) == ("r", 32)
    assert run.agent("32").checkpoint == run.checkpoints[0].resolve()
    wanted = api.evaluate(api.load("r", checkpoint_dir=str(tmp_path)), episodes=3)
    assert run.evaluate(episodes=3).returns.tolist() == wanted.returns.tolist()
    # A run that goes on keeps its settings, whatever this call's defaults are.
    again = api.train("CartPole-v1", run="r", checkpoint_dir=str(tmp_path), display="off")
    assert again.config.environment.num_envs == 2
    assert again.asked.environment.num_envs != 2


def test_an_algorithm_that_is_a_setting_has_its_preset(tmp_path: Path) -> None:
    place = {"checkpoint_dir": str(tmp_path), "display": "off", "total_timesteps": 128}
    run = api.train("CartPole-v1", algorithm="a2c", run="a", **place)
    assert run.config.learning.num_epochs == 1
    assert run.config.job.log_every == 20
    # A preset that is named is another algorithm's as long as the other settings are not known.
    settings = {"algorithm": "a2c", "num_epochs": 1, "num_minibatches": 1, "num_envs": 2}
    named = api.train("CartPole-v1", "cartpole", run="b", rollout_timesteps=64, **settings, **place)
    assert (named.config.learning.algorithm, named.config.job.log_every) == ("a2c", 1)
    with pytest.raises(ConfigError, match=r"algorithm=ppo \(the run has a2c\) was given; leave"):
        api.train("CartPole-v1", "cartpole", run="a", **place)


def test_a_whole_config_and_a_file_are_taken_as_well(tmp_path: Path) -> None:
    config = with_values(TrainConfig(), {
        "env": "gym:CartPole-v1", "checkpoint_dir": str(tmp_path), "total_timesteps": 32, **SMALL,
    })  # fmt: skip
    first = api.train(config, run="a")
    (tmp_path / "c.yaml").write_text(f"env: CartPole-v1\ncheckpoint_dir: {tmp_path}\n")
    second = api.train(
        config=tmp_path / "c.yaml", preset="", run="b", total_timesteps=32,
        **{name: value for name, value in SMALL.items()},
    )  # fmt: skip
    assert first.config == replace(config, job=replace(config.job, run="a"))
    assert second.config.environment.env == "gym:CartPole-v1"
    with pytest.raises(TypeError, match="no preset"):
        api.train(config, "cartpole")


def test_the_example_of_the_page_about_python_works(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "python-api.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    assert isinstance(names["agent"], api.Agent)
    assert np.isfinite(float(capsys.readouterr().out.split()[-1]))
