"""The split network: against a slow version, and that its parts see only what is theirs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.split import Split, left_size, make_torso
from ppo_mpi.settings.network import NetworkConfig

WALKER = ObservationSpec((24,), "float32")  # the last 10 numbers are a lidar's
# What PPO and Friends had for BipedalWalker: at first 128-128-128 and 64 numbers of each part,
# straight to the heads, with 128 for the value; later 32, 1 more, 32 - 16, 1 more, 16 - 64, 2 more.
EARLY = NetworkConfig(
    network="split", split_start=-10, activation="leaky_relu", shared_torso=False,
    left_hidden_sizes=(128, 128, 128, 64), right_hidden_sizes=(128, 128, 128, 64),
    joint_hidden_sizes=(), activate_branches=False,
    value_left_hidden_sizes=(128, 128, 128, 128), value_right_hidden_sizes=(128, 128, 128, 128),
)  # fmt: skip
LATE = NetworkConfig(
    network="split", split_start=-10, activation="leaky_relu", shared_torso=False,
    left_hidden_sizes=(32, 32, 32), right_hidden_sizes=(16, 16, 16),
    joint_hidden_sizes=(64, 64, 64),
)  # fmt: skip
FUNCTIONS = {
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
}


def model_of(config: NetworkConfig, spec: ObservationSpec = WALKER) -> ActorCritic:
    torch.manual_seed(0)
    model = ActorCritic(spec, Discrete(4), config, torch.float32)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def perceptron(
    vector: list[float], torso: nn.Module, activation: str, activate_last: bool
) -> list[float]:
    """Return what a perceptron makes of one vector, number by number in float64."""
    linears = [layer for layer in torso.modules() if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(linears):
        rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        vector = [sum(w * x for w, x in zip(row, vector, strict=True)) + b for row, b in rows]
        if activate_last or i + 1 < len(linears):
            vector = [FUNCTIONS[activation](x) for x in vector]
    return vector


def slow_features(torso: Split, config: NetworkConfig, vector: list[float]) -> list[float]:
    """Return the features of one vector, as the papers' figure shows them."""
    cut = len(vector) - 10
    ends = config.activate_branches
    left = perceptron(vector[:cut], torso.left, config.activation, ends)
    right = perceptron(vector[cut:], torso.right, config.activation, ends)
    return perceptron(left + right, torso.joint, config.activation, True)


@pytest.mark.parametrize("config", [EARLY, LATE], ids=["early", "late"])
@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("by_autograd", [False, True])
def test_features_are_those_of_two_perceptrons_and_one_behind_both(config, activation, by_autograd):
    config = NetworkConfig(**(vars(config) | {"activation": activation}))
    model = model_of(config)
    assert isinstance(model.value_torso, Split)
    obs = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 24)).astype(np.float32))
    with torch.set_grad_enabled(by_autograd):
        outputs, values = model.outputs(obs)
    for i, vector in enumerate(obs.tolist()):
        features = slow_features(model.torso, config, vector)
        value_features = slow_features(model.value_torso, config, vector)
        policy, value = model.policy_head, model.value_head
        expected = perceptron(features, policy, activation, False)
        assert outputs[i].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        expected = perceptron(value_features, value, activation, False)
        assert [values[i].item()] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_networks_of_bipedal_walker_have_their_layers():
    early, late = model_of(EARLY), model_of(LATE)
    assert early.policy_head.in_features == 64 + 64
    assert early.value_head.in_features == 128 + 128
    parts = [[layer.out_features for layer in part.linears]
             for part in (late.torso.left, late.torso.right, late.torso.joint)]  # fmt: skip
    assert parts == [[32] * 3, [16] * 3, [64] * 3]
    # By hand: 14 and 10 inputs to 128, twice 128 to 128, 128 to 64 or 128; then the head.
    torso = 14 * 128 + 10 * 128 + 2 * (2 * 128 * 128 + 3 * 128)
    actor = torso + 2 * (128 * 64 + 64) + 128 * 4 + 4
    critic = torso + 2 * (128 * 128 + 128) + 256 * 1 + 1
    assert sum(p.numel() for p in early.parameters()) == actor + critic


@pytest.mark.parametrize("config", [EARLY, LATE], ids=["early", "late"])
def test_a_part_does_not_see_what_is_the_others(config):
    torso = model_of(config).torso
    obs = torch.randn(5, 24, requires_grad=True)
    left, right = torso.parts(obs)
    torso.left(left).sum().backward()
    assert obs.grad is not None
    assert not obs.grad[:, 14:].any()
    assert obs.grad[:, :14].any(0).all()
    obs.grad = None
    torso.right(right).sum().backward()
    assert obs.grad is not None
    assert not obs.grad[:, :14].any()
    assert obs.grad[:, 14:].any(0).all()
    obs.grad = None
    torso(obs).square().sum().backward()
    assert obs.grad.any(0).all(), "the network as a whole sees every number"


@pytest.mark.parametrize(("start", "left"), [(1, 1), (14, 14), (23, 23), (-10, 14), (-23, 1)])
def test_the_split_counts_from_either_end(start, left):
    torso = make_torso(WALKER, NetworkConfig(network="split", split_start=start))
    assert torso.left.linears[0].in_features == left
    assert torso.right.linears[0].in_features == 24 - left
    assert torso(torch.randn(3, 24)).shape == (3, 64)


@pytest.mark.parametrize("start", [24, 30, -24, -30])
def test_a_split_outside_of_the_vector_names_its_length(start):
    message = (
        f"split_start={start} leaves a part empty, as the vector has 24 numbers; use 1 to 23, or "
        "-23 to -1 to count from the end"
    )
    with pytest.raises(ConfigError) as caught:
        left_size(WALKER, start)
    assert str(caught.value) == message


def test_one_number_cannot_be_split():
    message = "split_start=1 leaves a part empty, as the vector has 1 number; use network=mlp"
    with pytest.raises(ConfigError, match=message):
        left_size(ObservationSpec((1,), "float32"), 1)


def test_images_are_not_split():
    message = r"network=split needs vectors, but observations are images of \(64, 64, 3\)"
    with pytest.raises(ConfigError, match=message):
        left_size(ObservationSpec((64, 64, 3), "uint8"), 5)


def test_a_shared_torso_serves_both_heads():
    config = NetworkConfig(network="split", split_start=14)
    model = model_of(config)
    assert model.value_torso is None
    model.outputs(torch.randn(3, 24))[1].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.torso.parameters())


@pytest.mark.parametrize("how", ["auto", "orthogonal", "normc", "xavier_uniform"])
def test_its_layers_are_initialized_like_an_mlps(how):
    torch.manual_seed(0)
    config = NetworkConfig(network="split", split_start=14, initialization=how)
    for layer in make_torso(WALKER, config).modules():
        if isinstance(layer, nn.Linear):
            short = layer.weight if layer.out_features < layer.in_features else layer.weight.T
            product = short @ short.T
            is_orthogonal = torch.allclose(product, 2 * torch.eye(len(short)), atol=1e-4)
            assert is_orthogonal == (how in ("auto", "orthogonal"))
            if how == "normc":
                torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(len(layer.weight)))
            assert not layer.bias.any()


def test_in_bfloat16_it_is_near_float32():
    exact = model_of(LATE)
    rounded = ActorCritic(WALKER, Discrete(4), LATE, torch.bfloat16)
    rounded.load_state_dict(exact.state_dict())
    obs = torch.randn(6, 24)
    outputs, values = rounded.outputs(obs)
    expected_outputs, expected_values = exact.outputs(obs)
    assert outputs.dtype == values.dtype == torch.float32
    assert not torch.equal(values, expected_values)
    torch.testing.assert_close(values, expected_values, atol=0.1, rtol=0.1)
    torch.testing.assert_close(outputs, expected_outputs, atol=0.1, rtol=0.1)
