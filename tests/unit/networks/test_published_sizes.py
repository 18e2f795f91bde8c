"""Whole networks of the literature and of other systems, by their numbers of parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppo_mpi.envs.base import Box, Discrete, ObservationSpec
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

PROCGEN = ObservationSpec((64, 64, 3), "uint8")
ATARI = ObservationSpec((84, 84, 4), "uint8")
HOPPER = ObservationSpec((11,), "float32")
WALKER = ObservationSpec((24,), "float32")
UNEQUAL = {
    "hidden_sizes": (64, 64, 64), "value_hidden_sizes": (256, 256, 256), "shared_torso": False,
}  # fmt: skip
EARLY = {
    "network": "split", "split_start": -10, "shared_torso": False, "activate_branches": False,
    "left_hidden_sizes": (128, 128, 128, 64), "right_hidden_sizes": (128, 128, 128, 64),
    "joint_hidden_sizes": (), "value_left_hidden_sizes": (128, 128, 128, 128),
    "value_right_hidden_sizes": (128, 128, 128, 128),
}  # fmt: skip
LATE = {
    "network": "split", "split_start": -10, "shared_torso": False,
    "left_hidden_sizes": (32, 32, 32), "right_hidden_sizes": (16, 16, 16),
    "joint_hidden_sizes": (64, 64, 64),
}  # fmt: skip


def box(size: int) -> Box:
    return Box((-1.0,) * size, (1.0,) * size)


@pytest.mark.parametrize(
    ("spec", "actions", "settings", "parameters"),
    [
        # Cobbe et al. 2020, as train-procgen-pytorch has it.
        (PROCGEN, Discrete(15), {"network": "impala"}, 626_256),
        # The same with recurrent: True: three gates of 256 units, with two biases each.
        (PROCGEN, Discrete(15), {"network": "impala", "recurrent": "gru"},
         626_256 + 3 * (2 * 256 * 256 + 2 * 256)),
        # pytorch-a2c-ppo-acktr-gail: a third convolution of 32 channels; two small perceptrons.
        (ATARI, Discrete(6),
         {"network": "nature", "conv_channels": (32, 64, 32), "feature_size": 512}, 866_439),
        (HOPPER, box(3), {"shared_torso": False},
         2 * (11 * 64 + 64 + 64 * 64 + 64) + 64 * 3 + 3 + 3 + 64 + 1),
        # pytorch_ppo_atari, model_size small and large.
        (ATARI, Discrete(4), {"network": "nature", "conv_channels": (16, 32)}, 677_429),
        (ATARI, Discrete(4), {"network": "nature", "feature_size": 512}, 1_686_693),
        # PPO and Friends: a critic of another size, and two Nature torsos.
        (HOPPER, box(3), UNEQUAL,
         (11 * 64 + 64 + 2 * (64 * 64 + 64) + 64 * 3 + 3 + 3)
         + (11 * 256 + 256 + 2 * (256 * 256 + 256) + 256 + 1)),
        (ATARI, Discrete(3), {"network": "nature", "feature_size": 512, "shared_torso": False},
         2 * (1_686_693 - 512 * 5 - 5) + 512 * 4 + 4),
        # PPO and Friends: BipedalWalker's 14 and 10 numbers, early and later.
        (WALKER, box(4), EARLY,
         2 * (24 * 128 + 2 * (2 * 128 * 128 + 3 * 128))
         + 2 * (128 * 64 + 64) + 128 * 4 + 4 + 4 + 2 * (128 * 128 + 128) + 256 + 1),
        (WALKER, box(4), LATE,
         2 * (14 * 32 + 32 + 2 * (32 * 32 + 32) + 10 * 16 + 16 + 2 * (16 * 16 + 16)
              + 48 * 64 + 64 + 2 * (64 * 64 + 64)) + 64 * 4 + 4 + 4 + 64 + 1),
    ],
)  # fmt: skip
def test_a_published_network_has_as_many_parameters_as_its_source(
    spec, actions, settings, parameters
):
    model = ActorCritic(spec, actions, NetworkConfig(**settings), torch.float32)
    assert sum(p.numel() for p in model.parameters()) == parameters
    guide = (Path(__file__).parents[3] / "docs" / "networks.md").read_text(encoding="utf-8")
    assert f"| {parameters:,} |" in guide


def test_a_critic_of_its_own_size_has_it():
    model = ActorCritic(HOPPER, Discrete(3), NetworkConfig(**UNEQUAL), torch.float32)
    assert model.value_torso is not None
    for torso, head, size, outputs in (
        (model.torso, model.policy_head, 64, 3), (model.value_torso, model.value_head, 256, 1),
    ):  # fmt: skip
        assert [layer.out_features for layer in torso.linears] == [size] * 3
        assert (head.in_features, head.out_features) == (size, outputs)
    distribution, values = model(torch.randn(5, 11))
    assert distribution.log_probs.shape == (5, 3)
    assert values.shape == (5,)


def test_a_critic_is_as_large_as_the_policy_unless_it_is_given_sizes():
    config = NetworkConfig(hidden_sizes=(8, 4), shared_torso=False)
    model = ActorCritic(HOPPER, Discrete(3), config, torch.float32)
    assert model.value_torso is not None
    shapes = [[p.shape for p in torso.parameters()] for torso in (model.torso, model.value_torso)]
    assert shapes[0] == shapes[1]
