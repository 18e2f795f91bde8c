"""What training in one's own environment tells its user to type next works as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from jobs import run_job

pytest.importorskip("gymnasium")

MODULE = """
import gymnasium
import numpy as np


class Short(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(2, np.float32), float(action), self.left == 0, False, {}


class Other(Short):
    pass
"""
TRAIN = ["train", "mine:Short", "--num-envs", "2", "--rollout-timesteps", "64", "--num-minibatches",
         "2", "--total-timesteps", "64", "--display", "plain", "--run", "w"]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--checkpoint-dir", "other place"),
        ("--num-test-envs", "2", "--test-env", "mine:Other"),
    ],
)
def test_the_next_command_works_as_it_stands(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    told = run_job(0, *TRAIN, *words, cwd=tmp_path).stdout
    (line,) = [line for line in told.splitlines() if "ppo_mpi evaluate" in line]
    before, _, behind = line.partition("python -m ppo_mpi ")
    for word in shlex.split(before):
        monkeypatch.setenv(*word.split("=", 1))
    run_job(0, *shlex.split(behind), "--episodes", "1", cwd=tmp_path)
