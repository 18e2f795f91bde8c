"""Whole networks of the literature and of other systems, by their numbers of parameters."""

from __future__ import annotations

import pytest
import torch

from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

PROCGEN = ObservationSpec((64, 64, 3), "uint8")
ATARI = ObservationSpec((84, 84, 4), "uint8")


@pytest.mark.parametrize(
    ("spec", "num_actions", "settings", "parameters"),
    [
        # Cobbe et al. 2020, as train-procgen-pytorch has it.
        (PROCGEN, 15, {"network": "impala"}, 626_256),
        # pytorch-a2c-ppo-acktr-gail: a third convolution of 32 channels.
        (ATARI, 6, {"network": "nature", "conv_channels": (32, 64, 32), "feature_size": 512},
         866_439),
        # pytorch_ppo_atari, model_size small and large.
        (ATARI, 4, {"network": "nature", "conv_channels": (16, 32)}, 677_429),
        (ATARI, 4, {"network": "nature", "feature_size": 512}, 1_686_693),
    ],
)  # fmt: skip
def test_a_published_network_has_as_many_parameters_as_its_source(
    spec, num_actions, settings, parameters
):
    model = ActorCritic(spec, Discrete(num_actions), NetworkConfig(**settings), torch.float32)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_critic_of_its_own_size_has_it():
    # PPO and Friends on Hopper: three layers of 64 for the policy, of 256 for the value.
    config = NetworkConfig(
        hidden_sizes=(64, 64, 64), value_hidden_sizes=(256, 256, 256), shared_torso=False
    )
    spec = ObservationSpec((11,), "float32")
    model = ActorCritic(spec, Discrete(3), config, torch.float32)
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
    model = ActorCritic(ObservationSpec((11,), "float32"), Discrete(3), config, torch.float32)
    assert model.value_torso is not None
    shapes = [[p.shape for p in torso.parameters()] for torso in (model.torso, model.value_torso)]
    assert shapes[0] == shapes[1]
