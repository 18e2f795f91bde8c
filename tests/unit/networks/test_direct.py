"""Outputs and gradients by hand: against autograd, and against the layers written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_mpi.envs.base import ActionSpec, Box, Discrete, ObservationSpec
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.direct import DirectPass, runs_directly
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.networks.split import Split
from ppo_mpi.settings.network import NetworkConfig

COUNT = 11
VECTOR = ObservationSpec((6,), "float32")
IMAGE = ObservationSpec((40, 40, 3), "uint8")
# Sizes that are no multiples of four are padded.
MODELS = [
    {"hidden_sizes": sizes, "activation": activation, "shared_torso": shared}
    for sizes in ((5, 7), (8,), (4, 6, 9))
    for activation in ("tanh", "relu", "leaky_relu")
    for shared in (False, True)
]
MODELS.append({"hidden_sizes": (5, 7), "value_hidden_sizes": (9,), "shared_torso": False})
SPLIT = {"network": "split", "activation": "leaky_relu"}
MODELS += [
    SPLIT | {"split_start": start, "shared_torso": shared, "activate_branches": activated,
             "left_hidden_sizes": left, "right_hidden_sizes": right, "joint_hidden_sizes": joint}
    for start in (2, -2)
    for shared in (False, True)
    for activated in (False, True)
    for left, right, joint in (((5, 7), (6,), (9,)), ((4,), (8, 3), ()), ((), (5,), (8, 4)))
]  # fmt: skip
MODELS.append(
    SPLIT
    | {
        "split_start": 1,
        "activation": "tanh",
        "shared_torso": False,
        "value_left_hidden_sizes": (5,),
        "value_joint_hidden_sizes": (7, 3),
    }
)


def make(actions: ActionSpec, **settings: object) -> ActorCritic:
    torch.manual_seed(3)
    config = NetworkConfig(**({"network": "mlp"} | settings))
    model = ActorCritic(VECTOR, actions, config, torch.float32)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def observations(count: int = COUNT) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(4))


def by_layers(torso: torch.nn.Module, obs: torch.Tensor) -> torch.Tensor:
    """Return the features, one layer after the other, in float64."""
    if isinstance(torso, Split):
        start = obs.shape[1] - torso.right.layers[0].in_features
        parts = by_layers(torso.left, obs[:, :start]), by_layers(torso.right, obs[:, start:])
        return by_layers(torso.joint, torch.cat(parts, 1))
    x = obs.double()
    for layer in torso.layers:
        if isinstance(layer, torch.nn.Linear):
            x = x @ layer.weight.double().T + layer.bias.double()
        else:
            x = layer(x)
    return x


def outputs_by_layers(model: ActorCritic, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    value_torso = model.torso if model.value_torso is None else model.value_torso
    policy, value = model.policy_head, model.value_head
    outputs = by_layers(model.torso, obs) @ policy.weight.double().T + policy.bias.double()
    values = by_layers(value_torso, obs) @ value.weight.double()[0] + value.bias.double()
    return outputs, values


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_outputs_and_values_are_those_of_the_layers(settings):
    model = make(Discrete(3), **settings)
    assert runs_directly(model, observations())
    direct = DirectPass(model, observations())
    outputs, values = outputs_by_layers(model, observations())
    torch.testing.assert_close(direct.outputs.double(), outputs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(direct.values.double(), values, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        acting = model.outputs(observations())
    assert torch.equal(acting[0], direct.outputs)
    assert torch.equal(acting[1], direct.values)


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_gradients_are_autograds_in_the_order_of_the_parameters(settings):
    model = make(Discrete(3), **settings)
    of_outputs, of_values = torch.randn(COUNT, 3), torch.randn(COUNT)
    found = DirectPass(model, observations()).gradients(of_outputs, of_values)
    outputs, values = outputs_by_layers(model, observations())
    total = (outputs * of_outputs).sum() + (values * of_values).sum()
    expected = torch.autograd.grad(total, list(model.parameters()))
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", ["mlp", "split"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu"])
def test_a_row_has_the_same_bits_wherever_it_stands(network: str, activation: str):
    settings = {"network": network, "hidden_sizes": (64, 64), "activation": activation}
    settings["split_start"] = 4 if network == "split" else 0
    model = make(Discrete(3), shared_torso=False, **settings)
    obs = observations(8)
    there = DirectPass(model, obs)
    for shift in range(1, 8):
        moved = DirectPass(model, obs.roll(shift, 0))
        assert torch.equal(moved.outputs, there.outputs.roll(shift, 0))
        assert torch.equal(moved.values, there.values.roll(shift, 0))


def test_the_hyperbolic_tangent_has_the_same_bits_wherever_a_number_stands():
    numbers = np.linspace(-12, 12, 2_003, dtype=np.float32)
    expected = np.tanh(numbers)
    for start in range(1, 40):
        np.testing.assert_array_equal(np.tanh(numbers[start:].copy()), expected[start:])
        np.testing.assert_array_equal(np.tanh(numbers[start : start + 7]), expected[start:][:7])
    np.testing.assert_allclose(expected, np.tanh(numbers.astype(np.float64)), rtol=3e-7)


def test_it_stands_aside_for_hooks_images_and_other_arithmetic():
    obs = observations()
    model = make(Box((-1.0,), (1.0,)), hidden_sizes=(8,))
    assert runs_directly(model, obs)
    assert not runs_directly(model, obs.double())
    half = ActorCritic(VECTOR, Discrete(2), NetworkConfig(network="mlp"), torch.bfloat16)
    assert not runs_directly(half, obs)
    images = ActorCritic(IMAGE, Discrete(2), NetworkConfig(network="nature"), torch.float32)
    assert not runs_directly(images, torch.zeros(2, 40, 40, 3))
    seen = []
    handle = model.torso.linears[0].register_forward_hook(lambda *found: seen.append(found))
    assert not runs_directly(model, obs)
    with torch.no_grad():
        model.outputs(obs)
    assert len(seen) == 1
    handle.remove()
    assert runs_directly(model, obs)


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
@pytest.mark.parametrize("where", ["torso", "torso.layers.1", "value_head", ""])
def test_a_hook_anywhere_is_called(kind: str, where: str):
    model = make(Discrete(3), hidden_sizes=(8,))
    module = model.get_submodule(where)
    handle = getattr(module, f"register_{kind}_hook")(lambda *found: None)
    assert not runs_directly(model, observations())
    handle.remove()
    assert runs_directly(model, observations())


@pytest.mark.parametrize(
    "where", ["torso", "torso.left", "torso.right.layers", "torso.joint.layers.1", "policy_head"]
)
def test_a_hook_anywhere_in_a_split_network_is_called(where: str):
    model = make(Discrete(3), network="split", split_start=2)
    seen = []
    handle = model.get_submodule(where).register_forward_hook(lambda *found: seen.append(found))
    assert not runs_directly(model, observations())
    with torch.no_grad():
        model.outputs(observations())
    assert len(seen) == 1
    handle.remove()
    assert runs_directly(model, observations())


def test_a_leaky_relu_of_another_slope_is_called():
    model = make(Discrete(3), hidden_sizes=(8,), activation="leaky_relu")
    assert runs_directly(model, observations())
    model.torso.layers[1].negative_slope = 0.2
    assert not runs_directly(model, observations())


def test_a_split_network_that_does_more_is_called():
    class Doubled(Split):
        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(vectors)

    model = make(Discrete(3), network="split", split_start=2)
    torso = model.torso
    model.torso = Doubled((2, 4), torso.left, torso.right, torso.joint)
    assert not runs_directly(model, observations())
    model.torso = torso
    torso.right = torch.nn.Sequential(*torso.right.layers)
    assert not runs_directly(model, observations())


def test_a_torso_that_does_more_than_a_perceptron_is_called():
    class Doubled(Mlp):
        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(vectors)

    model = make(Discrete(3), hidden_sizes=(8,))
    model.torso = Doubled([6, 8], torch.nn.Tanh)
    assert not runs_directly(model, observations())
    for layers in (
        [torch.nn.Linear(6, 8), torch.nn.Tanh()],
        [AlignedLinear(6, 8), torch.nn.ReLU()],
    ):
        model = make(Discrete(3), hidden_sizes=(8,))
        model.torso.layers = torch.nn.Sequential(*layers)
        assert not runs_directly(model, observations())
