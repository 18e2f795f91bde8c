"""The settings of reward models."""

from __future__ import annotations

import re

import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("icm_beta", 1.5, "icm_beta=1.5 is out of range; use 0 to 1"),
        ("rnd_update_proportion", 0.0, "rnd_update_proportion=0.0 must be greater than 0"),
        ("rnd_observation_clip", 0.0, "rnd_observation_clip=0.0 must be greater than 0"),
        ("reward_learning_rate", 0.0, "reward_learning_rate=0.0 must be greater than 0"),
        ("intrinsic_weight", -1.0, "intrinsic_weight=-1.0 is too small; use 0 or more"),
        ("extrinsic_weight", -1.0, "extrinsic_weight=-1.0 is too small; use 0 or more"),
        ("encoded_size", -1, "encoded_size=-1 is too small; use 0 or more"),
        ("rnd_output_size", 0, "rnd_output_size=0 is too small; use 1 or more"),
        ("forward_hidden_sizes", (8, 0), "forward_hidden_sizes=0 is too small; use 1 or more"),
        ("intrinsic_discount", 2.0, "intrinsic_discount=2.0 is out of range; use 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: object, message: str):
    config = with_values(TrainConfig(), {name: value})
    with pytest.raises(ConfigError, match=re.escape(message)):
        config.validate(world_size=1)
