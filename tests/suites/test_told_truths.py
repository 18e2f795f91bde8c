"""Truths of a Gymnasium environment arrive with the observation that they are true of."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ppo_mpi.build import build_run
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator

pytest.importorskip("gymnasium")

ENV = """
import gymnasium
import numpy as np


class Walk(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = int(self.np_random.integers(1000)), 0
        return self.shown()

    def step(self, action):
        self.place += 1 + int(action)
        self.steps += 1
        obs, info = self.shown()
        info["bonus_reward"] = self.steps
        return obs, 0.0, self.steps == 3, self.steps == 5 or self.place % 4 == 0, info

    def shown(self):
        known = {} if self.place % 5 == 0 else {"double": 2 * self.place}
        obs = np.array([self.place, self.steps], np.float32)
        return obs, {"auxiliary": known | {"odd": self.place % 2}}

    def save_episode(self):
        return [self.place, self.steps]

    def load_episode(self, state):
        self.place, self.steps = state
"""
VALUES = {
    "env": "walk:Walk", "num_envs": 5, "rollout_timesteps": 60, "num_minibatches": 2,
    "network": "mlp", "auxiliary_heads": ("double:regression", "odd:classes:2"),
    "bonus_rewards": True, "precision": "float32", "normalize_rewards": False,
}  # fmt: skip


@pytest.mark.parametrize("how", [{}, {"env_workers": 2}, {"turns": 2}])
def test_truths_belong_to_the_observations_they_came_with(
    how: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "walk.py").write_text(ENV)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "walk", raising=False)
    run = build_run(with_values(TrainConfig(), VALUES | how), Communicator())
    try:
        rollout = run.collector.collect(0, True)
        assert rollout.terminated.any()
        assert rollout.truncated.any()
        for iteration in (1, 2):
            place = rollout.obs[..., 0].numpy()
            known = place % 5 != 0
            assert known.any()
            assert not known.all()
            assert rollout.truths is not None
            double, odd = np.moveaxis(rollout.truths.values.numpy(), -1, 0)
            np.testing.assert_array_equal(double, np.where(known, 2 * place, np.nan))
            np.testing.assert_array_equal(odd, place % 2)
            assert rollout.bonus is not None
            np.testing.assert_array_equal(rollout.bonus, rollout.obs[..., 1].numpy() + 1)
            if iteration == 1:  # what a checkpoint keeps of the environments
                envs = run.collector.actor.envs
                truths, states = envs.truths, envs.get_states()
                envs.reset()
                envs.set_states(states)
                np.testing.assert_array_equal(envs.truths, truths)
                rollout = run.collector.collect(iteration, True)
    finally:
        run.close()
