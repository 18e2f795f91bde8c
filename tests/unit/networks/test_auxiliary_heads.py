"""Where auxiliary heads sit, and which losses reach which layers, by the gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.freezing import freeze, layers_in, named_by
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.networks.routed import RoutedPass
from ppo_mpi.settings.auxiliary import LOSSES
from ppo_mpi.settings.heads import parse_heads
from ppo_mpi.settings.network import NetworkConfig

VECTOR = ObservationSpec((6,), "float32")
IMAGE = ObservationSpec((40, 40, 3), "uint8")
PARTED = {"shared_torso": False, "shared_layers": 1, "hidden_sizes": (5, 7)}
N = 9


def make(*heads: str, spec: ObservationSpec = VECTOR, **settings: Any) -> ActorCritic:
    torch.manual_seed(3)
    config = NetworkConfig(**settings)
    config.check()
    return ActorCritic(spec, Discrete(3), config, torch.float32, heads=parse_heads(heads))


def test_first_weights_of_all_else_are_those_without_heads():
    plain, headed = make(), make("a:regression:3", "b:classes:2@shared.1")
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, headed.get_parameter(name))


@pytest.mark.parametrize("recurrent", ["none", "gru"])
def test_heads_sit_where_they_say(recurrent: str):
    heads = ("a:regression@shared", "b:regression@policy.1", "c:regression@value", "d:regression")
    model = make(*heads, **PARTED, recurrent=recurrent, recurrent_size=4 * (recurrent == "gru"))
    obs = torch.randn(N, 6)
    sequences = None
    if recurrent == "gru":
        sequences = Sequences.of_one_step(torch.randn(N, model.memory_size))
    layers = model.activations(obs, sequences)
    places = ["shared.1", "policy.1", "value.1", "policy.1"]
    if recurrent == "gru":
        places[2:] = ["value.memory", "policy.memory"]
    given = RoutedPass(model, obs, sequences, LOSSES).answers()
    for head, layer, place, own in zip(
        model.heads, model.auxiliary_heads, places, given, strict=True
    ):
        torch.testing.assert_close(own, layer(layers[place]))
        torch.testing.assert_close(own, layers[f"auxiliary.{head.name}"])


@pytest.mark.parametrize(
    ("word", "settings", "message"),
    [
        ("a:regression@policy", {}, "use @shared"),
        ("a:regression@shared", {"shared_torso": False}, "use @policy or @value"),
        ("a:regression@shared.3", {}, "there are 2 layers"),
        ("a:regression@shared.1", {"spec": IMAGE, "network": "nature"}, "leave out .1"),
        ("a:regression@policy.2", PARTED, "there are 1 layers"),
    ],
)
def test_layers_that_are_not_there_are_refused(word: str, settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        make(word, **settings)


def losses_of(model: ActorCritic, reaching: tuple[str, ...], sequences: Any) -> dict[str, Tensor]:
    torch.manual_seed(1)
    obs = torch.randn(N, 6)
    routed = RoutedPass(model, obs, sequences, reaching)
    distribution, values = routed(obs, sequences)
    return {
        "policy": distribution.log_prob(torch.arange(N) % 3).sum(),
        "value": (values**2).sum(),
        "entropy": distribution.entropy().sum(),
        "auxiliary": torch.stack([x.pow(2).sum() for x in routed.answers()]).sum(),
    }


def gradients(loss: Tensor, model: ActorCritic) -> dict[str, Tensor]:
    """Return the gradient of each parameter that the loss has one for."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {n: g for n, g in zip(names, found, strict=True) if g is not None}


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({}, ("torso.",)),
        (PARTED, ("trunk.",)),
        ({"recurrent": "gru"}, ("torso.", "recurrent.")),
        ({**PARTED, "recurrent": "gru", "recurrent_size": 4}, ("trunk.",)),
    ],
)
@pytest.mark.parametrize(
    "reaching", [("value",), ("policy", "value"), ("entropy", "auxiliary"), LOSSES]
)
def test_each_loss_trains_its_own_layers_and_shared_ones_only_if_it_may(
    settings: dict[str, Any], shared: tuple[str, ...], reaching: tuple[str, ...]
):
    model = make("a:regression", "b:classes:3@shared.1", **settings)
    with torch.no_grad():
        model.policy_head.weight.mul_(100)
    sequences = None
    if model.recurrent is not None:
        sequences = Sequences(torch.randn(5, model.memory_size), torch.tensor([5, 4]))
    free = losses_of(model, LOSSES, sequences)
    routed = losses_of(model, reaching, sequences)
    for name in LOSSES:
        torch.testing.assert_close(routed[name], free[name])
        expected, found = gradients(free[name], model), gradients(routed[name], model)
        if name not in reaching:
            expected = {n: g for n, g in expected.items() if not n.startswith(shared)}
        else:
            assert any(n.startswith(shared) for n in found)
        assert found.keys() == expected.keys(), name
        for parameter, gradient in found.items():
            torch.testing.assert_close(gradient, expected[parameter])


def test_words_name_layers_by_prefix_pattern_and_number():
    names = [name for name, _ in make("a:regression").named_parameters()]
    layers = ["torso.layers.0", "torso.layers.2", "policy_head", "value_head", "auxiliary_heads.0"]
    assert layers_in(names) == layers
    assert layers_in(named_by(["torso"], names, "x")) == layers[:2]
    assert layers_in(named_by(["3"], names, "x")) == layers[:3]
    assert named_by(["*.bias", "value_head.weight"], names, "x") == [
        n for n in names if n.endswith(".bias") or n == "value_head.weight"
    ]
    assert named_by(["torso.layers"], names, "x") == named_by(["2"], names, "x")
    with pytest.raises(ConfigError, match="did you mean policy_head"):
        named_by(["policy"], names, "x")
    with pytest.raises(ConfigError, match="which has 5"):
        named_by(["6"], names, "x")


def test_what_is_frozen_has_no_gradient_and_something_is_left_to_learn():
    model = make()
    freeze(model, ("torso",))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["policy_head.weight", "policy_head.bias",
                       "value_head.weight", "value_head.bias"]  # fmt: skip
    with pytest.raises(ConfigError, match="nothing to learn"):
        freeze(model, ("torso", "*_head"))
