"""Policy and value that share their first layers only, and what each layer gives."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import relu

from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.direct import DirectPass, runs_directly
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.settings.network import NetworkConfig

VECTOR = ObservationSpec((6,), "float32")
IMAGE = ObservationSpec((40, 40, 3), "uint8")
PARTED = {"shared_torso": False, "hidden_sizes": (5, 7, 6)}


def make(spec: ObservationSpec = VECTOR, **settings: object) -> ActorCritic:
    torch.manual_seed(3)
    config = NetworkConfig(**settings)  # type: ignore[arg-type]
    config.check()
    return ActorCritic(spec, Discrete(3), config, torch.float32)


@pytest.mark.parametrize("num", [1, 2, 3, -1])
@pytest.mark.parametrize("value_sizes", [(), (5, 7, 6, 4)])
def test_gradients_by_hand_are_those_of_autograd(num: int, value_sizes: tuple[int, ...]):
    model = make(**PARTED, shared_layers=num, value_hidden_sizes=value_sizes)
    obs = torch.randn(11, 6)
    assert runs_directly(model, obs)
    outputs, values = model.outputs(obs)
    direct = DirectPass(model, obs)
    torch.testing.assert_close(direct.outputs, outputs)
    torch.testing.assert_close(direct.values, values)
    of_outputs, of_values = torch.randn_like(outputs), torch.randn_like(values)
    loss = (outputs * of_outputs).sum() + (values * of_values).sum()
    expected = torch.autograd.grad(loss, list(model.parameters()))
    found = direct.gradients(of_outputs, of_values)
    assert len(found) == len(expected)
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other)


def test_only_the_first_layers_are_shared():
    model = make(**PARTED, shared_layers=1)
    obs = torch.randn(4, 6)
    outputs, values = model.outputs(obs)
    of_policy = {
        name
        for name, p in model.named_parameters()
        if torch.autograd.grad(outputs.sum(), p, retain_graph=True, allow_unused=True)[0]
        is not None
    }
    of_value = {
        name
        for name, p in model.named_parameters()
        if torch.autograd.grad(values.sum(), p, retain_graph=True, allow_unused=True)[0] is not None
    }
    assert {name.split(".")[0] for name in of_policy} == {"trunk", "torso", "policy_head"}
    assert {name.split(".")[0] for name in of_value} == {"trunk", "value_torso", "value_head"}
    assert model.trunk is not None
    assert len(model.trunk.linears) == 1
    assert len(model.torso.linears) == len(model.value_torso.linears) == 2


def test_a_recurrent_layer_is_behind_the_shared_ones_on_each_side():
    model = make(**PARTED, shared_layers=-1, recurrent="gru", recurrent_size=4)
    assert model.memory_size == 8
    sequences = Sequences.of_one_step(torch.zeros(5, 8))
    found = model.activations(torch.randn(5, 6), sequences)
    assert list(found) == [
        "shared.1", "shared.2", "shared.3", "policy.memory", "value.memory", "policy", "value",
    ]  # fmt: skip
    assert not torch.equal(found["policy.memory"], found["value.memory"])


def test_activations_are_what_the_layers_give():
    model = make(**PARTED, shared_layers=2)
    obs = torch.randn(4, 6)
    found = model.activations(obs)
    assert list(found) == ["shared.1", "shared.2", "policy.1", "value.1", "policy", "value"]
    first, second = model.trunk.linears  # type: ignore[union-attr]
    torch.testing.assert_close(found["shared.2"], second(first(obs).tanh()).tanh())
    (own,) = model.value_torso.linears  # type: ignore[union-attr]
    torch.testing.assert_close(found["value.1"], own(found["shared.2"]).tanh())
    outputs, values = model.outputs(obs)
    torch.testing.assert_close(found["policy"], outputs)
    torch.testing.assert_close(found["value"], values)


def test_activations_of_separate_split_and_recurrent_networks_are_named():
    assert list(make(shared_torso=False).activations(torch.randn(2, 6))) == [
        "policy.1", "policy.2", "value.1", "value.2", "policy", "value",
    ]  # fmt: skip
    split = make(network="split", split_start=2, left_hidden_sizes=(3,), right_hidden_sizes=())
    names = list(split.activations(torch.randn(2, 6)))
    assert names == ["shared.left.1", "shared.joint.1", "policy", "value"]
    gru = make(recurrent="gru")
    found = gru.activations(torch.randn(2, 6), Sequences.of_one_step(torch.zeros(2, 64)))
    assert list(found) == ["shared.1", "shared.2", "shared.memory", "policy", "value"]


@pytest.mark.parametrize(("network", "num"), [("nature", 4), ("impala", 4)])
def test_activations_of_images_are_those_behind_each_block(network: str, num: int):
    model = make(IMAGE, network=network)
    obs = torch.randint(256, (2, 40, 40, 3), dtype=torch.uint8)
    found = model.activations(obs)
    assert list(found) == [*(f"shared.{i}" for i in range(1, num + 1)), "policy", "value"]
    flat = relu(found[f"shared.{num - 1}"]).permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(found[f"shared.{num}"], relu(model.torso.linear(flat)))
    torch.testing.assert_close(found["policy"], model.outputs(obs)[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shared_layers": 1}, "shared_torso=false"),
        ({**PARTED, "shared_layers": 4}, "use 1 to 3, or -1"),
        ({**PARTED, "shared_layers": -2}, "use 1 to 3, or -1"),
        ({"shared_torso": False, "shared_layers": 1, "network": "nature"}, "use network=mlp"),
        ({**PARTED, "shared_layers": 2, "value_hidden_sizes": (5, 8)}, "begin with 5,7"),
    ],
)
def test_what_cannot_be_shared_is_refused(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_layers_of_images_are_not_shared_one_by_one():
    with pytest.raises(ConfigError, match="shared_torso=true"):
        make(IMAGE, shared_torso=False, shared_layers=1)
