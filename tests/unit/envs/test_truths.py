"""Truths and bonus rewards in an info, in the forms that they may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.truths import Told, truths_for_json, truths_from_json
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.heads import parse_heads
from ppo_mpi.suites import make_envs

NAN = float("nan")
TOLD = Told(parse_heads(["place:regression:2", "room:classes:3"]), bonus=True)


@pytest.mark.parametrize(
    ("told", "row"),
    [
        ({"place": [1, 2.5], "room": 2, "other": 9}, [1, 2.5, 2]),
        ({"place": np.array([[1.0, 2.0]])}, [1, 2, NAN]),
        ({"place": None, "room": np.int64(0)}, [NAN, NAN, 0]),
        ({"place": (1, NAN), "room": -1}, [1, NAN, NAN]),
        ([(1, 2), 1], [1, 2, 1]),
        (None, [NAN] * 3),
    ],
)
def test_truths_are_read_by_name_or_in_order(told: Any, row: list[float]):
    found = TOLD.truths({"auxiliary": told}, "x")
    np.testing.assert_array_equal(found, np.array(row, np.float32))
    np.testing.assert_array_equal(truths_from_json(truths_for_json(found), 3), found)
    assert np.isnan(TOLD.truths({}, "x")).all()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"place": 1}, "1 numbers, but its head learns 2"),
        ({"room": 3}, "none of its 3 classes, 0 to 2"),
        ({"room": 0.5}, "none of its 3 classes"),
        ({"place": (1, float("inf"))}, "infinite"),
        ({"place": ("a", "b")}, "no number"),
        ([1], "nor a list of 2 truths"),
        ("place", "neither a dict"),
    ],
)
def test_truths_that_cannot_be_are_refused(told: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        TOLD.truths({"auxiliary": told}, "x")


@pytest.mark.parametrize("bonus", [float("nan"), float("inf"), "-inf"])
def test_a_bonus_is_finite(bonus: Any):
    with pytest.raises(ConfigError, match=r'info\["bonus_reward"\].*no finite number'):
        Told(bonus=True).bonus_of({"bonus_reward": bonus}, "room")


def test_a_bonus_is_a_number():
    assert TOLD.bonus_of({"bonus_reward": np.float32(0.5)}, "x") == 0.5
    assert TOLD.bonus_of({}, "x") == 0
    with pytest.raises(ConfigError, match="bonus_rewards=false"):
        TOLD.bonus_of({"bonus_reward": "much"}, "x")


@pytest.mark.parametrize("saved", [[1.0], [1, 2, "3"], [1, 2, True], None, [1, 2, 1e999]])
def test_damaged_truths_of_a_state_are_refused(saved: Any):
    with pytest.raises(ValueError, match="truth"):
        truths_from_json(saved, 3)


@pytest.mark.parametrize("env", ["probe:match", "CartPole-v1"])
def test_environments_that_tell_nothing_are_refused(env: str):
    config = with_values(TrainConfig(), {"env": env, "auxiliary_heads": ("a:regression",)})
    with pytest.raises(ConfigError, match="probe:beacon"):
        make_envs(config, (0,), 0, "train")
