"""Torsos and heads together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ppo_mpi.envs.base import Box, Discrete, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.distributions import Categorical, DiagonalGaussian
from ppo_mpi.networks.impala import Impala
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.settings.network import NetworkConfig

IMAGE = ObservationSpec((16, 16, 3), "uint8")
VECTOR = ObservationSpec((6,), "float32")


def make(
    spec: ObservationSpec, precision: torch.dtype = torch.float32, **kwargs: Any
) -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(spec, Discrete(5), NetworkConfig(**kwargs), precision)


def images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 16, 16, 3), dtype=torch.uint8, generator=generator)


def test_auto_takes_impala_for_images_and_mlp_for_vectors():
    assert isinstance(make(IMAGE).torso, Impala)
    assert isinstance(make(VECTOR).torso, Mlp)


def test_an_unknown_network_lists_the_known_ones():
    known = "combined, impala, mlp, nature"
    with pytest.raises(ConfigError, match=f"unknown network 'resnet50'; known: {known}"):
        make(IMAGE, network="resnet50")


def test_images_become_channels_first_between_0_and_1_in_channels_last_memory():
    obs = images(4)
    prepared = make(IMAGE).prepare(obs)
    assert prepared.shape == (4, 3, 16, 16)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(prepared.permute(0, 2, 3, 1), obs / 255)
    assert obs.dtype == torch.uint8
    assert torch.equal(obs, images(4)), "the observations themselves were changed"


def test_a_fresh_policy_is_nearly_uniform():
    distribution, values = make(IMAGE)(images(8))
    assert isinstance(distribution, Categorical)
    torch.testing.assert_close(
        distribution.log_probs.exp(), torch.full((8, 5), 0.2), atol=0.02, rtol=0.0
    )
    assert values.shape == (8,)


def test_policy_and_value_share_a_torso_or_have_one_each():
    shared, separate = make(VECTOR, shared_torso=True), make(VECTOR, shared_torso=False)
    obs = torch.randn(3, 6)
    for model, has_effect in ((shared, True), (separate, False)):
        model.outputs(obs)[1].sum().backward()
        gradients = [p.grad for p in model.torso.parameters()]
        assert all((g is not None) == has_effect for g in gradients)
    assert separate.value_torso is not None
    assert not torch.equal(*(t.layers[0].weight for t in (separate.torso, separate.value_torso)))


def test_continuous_actions_have_a_deviation_that_is_learned():
    box = Box((-1.0, -2.0), (1.0, 2.0))
    model = ActorCritic(VECTOR, box, NetworkConfig(initial_log_std=-0.5), torch.float32)
    distribution, _ = model(torch.randn(3, 6))
    assert isinstance(distribution, DiagonalGaussian)
    assert distribution.log_std.tolist() == [[-0.5, -0.5]] * 3
    distribution.entropy().sum().backward()
    assert model.log_std.grad is not None


def test_bfloat16_is_for_the_torso_only_and_near_float32():
    exact, rounded = make(IMAGE), make(IMAGE, torch.bfloat16)
    rounded.load_state_dict(exact.state_dict())
    outputs, values = rounded.outputs(images(8))
    assert outputs.dtype == values.dtype == torch.float32
    expected_outputs, expected_values = exact.outputs(images(8))
    torch.testing.assert_close(values, expected_values, atol=0.05, rtol=0.05)
    torch.testing.assert_close(outputs, expected_outputs, atol=0.01, rtol=0.05)
    assert not torch.equal(values, expected_values)
    assert all(p.dtype == torch.float32 for p in rounded.parameters())
