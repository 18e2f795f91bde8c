"""Worker processes take saved states all together or not at all."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from env_checks import random_actions

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.workers import WorkerEnvs
from ppo_mpi.errors import CheckpointError
from ppo_mpi.suites import make_envs

INDICES = (3, 4, 5, 6, 7)
"""Two workers have two and three of them."""


@pytest.mark.parametrize("env", ["CartPole-v1", "probe:box", "starpilot"])
def test_a_bad_state_in_one_worker_changes_nothing_in_any(env: str) -> None:
    make = partial(make_envs, with_values(TrainConfig(), {"env": env}), seed=11, stream="train")
    envs, other = WorkerEnvs(make, INDICES, 2), make(INDICES)
    envs.reset()
    for actions in random_actions(envs, 5):
        envs.step(actions)
    other.reset()  # the same environments, at another moment
    before, good = envs.get_states(), other.get_states()
    assert before[0] != good[0]
    for states, message in (
        ([*good[:4], b"{"], "environment 7 is damaged"),
        ([None, *good[1:4], b"{"], "environment 7 is damaged"),
        (good[:4], "4 saved environments do not fit 5 slots"),
        ([*good, good[0]], "6 saved environments do not fit 5 slots"),
    ):
        for ask in (envs.set_states, envs.check_states):
            with pytest.raises(CheckpointError, match=message):
                ask(states)
            assert envs.get_states() == before
    envs.check_states(good)
    assert envs.get_states() == before
    assert envs.set_states(good) == []
    np.testing.assert_array_equal(envs.observe(), other.observe())
    envs.close()
    other.close()
