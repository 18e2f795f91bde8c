"""Recurrent layers against their papers' formulas, one sample and one step at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.direct import runs_directly
from ppo_mpi.networks.recurrent import Recurrent, Sequences, make_recurrent
from ppo_mpi.settings.network import NetworkConfig

KINDS = ("gru", "lstm")
LENGTHS = (5, 5, 3, 1)


def slow_step(layer: Recurrent, x: Tensor, memory: Tensor) -> Tensor:
    """Return the memory [S] after a step with features x [F], gate by gate in float64."""
    own = {name: p.detach().double() for name, p in layer.layer.named_parameters()}
    size = layer.feature_size
    x = torch.cat([x, x.new_zeros(layer.layer.input_size - len(x))]).double()
    h = memory[:size].double()
    from_x = (own["weight_ih_l0"] @ x + own["bias_ih_l0"]).split(size)
    from_h = (own["weight_hh_l0"] @ h + own["bias_hh_l0"]).split(size)
    if layer.memory_size == size:
        reset = torch.sigmoid(from_x[0] + from_h[0])
        update = torch.sigmoid(from_x[1] + from_h[1])
        new = torch.tanh(from_x[2] + reset * from_h[2])
        return ((1 - update) * new + update * h).float()
    enter, forget, new, leave = (a + b for a, b in zip(from_x, from_h, strict=True))
    content = forget.sigmoid() * memory[size:].double() + enter.sigmoid() * new.tanh()
    return torch.cat([leave.sigmoid() * content.tanh(), content]).float()


def random_case(kind: str, num_inputs: int = 6, size: int = 8) -> tuple[Recurrent, Tensor, Tensor]:
    torch.manual_seed(4)
    layer = make_recurrent(kind, num_inputs, size)  # type: ignore[arg-type]
    assert layer is not None
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.7)  # biases too
    return layer, torch.randn(sum(LENGTHS), num_inputs), torch.randn(4, layer.memory_size)


def sequences_of(memory: Tensor) -> Sequences:
    return Sequences(memory, torch.tensor([sum(n > i for n in LENGTHS) for i in range(5)]))


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_several_lengths_are_gone_through_as_one_by_one(kind: str):
    layer, features, memory = random_case(kind)
    found, after = layer(features, sequences_of(memory))
    row = 0
    states = [own.clone() for own in memory]
    for step in range(5):
        for i in range(4):
            if LENGTHS[i] > step:
                states[i] = slow_step(layer, features[row], states[i])
                torch.testing.assert_close(found[row], states[i][:8], atol=1e-6, rtol=1e-5)
                row += 1
    assert row == len(features)
    torch.testing.assert_close(after, torch.stack(states), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_a_sequence_of_one(kind: str):
    layer, features, memory = random_case(kind)
    found, after = layer(features[:4], Sequences.of_one_step(memory))
    expected = torch.stack(
        [slow_step(layer, x, h) for x, h in zip(features[:4], memory, strict=True)]
    )
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found, expected[:, :8], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_go_back_through_time_and_end_at_the_given_memory(kind: str):
    layer, features, memory = random_case(kind)
    features.requires_grad_()
    found, _ = layer(features, sequences_of(memory))
    last = sum(LENGTHS) - 1  # a sample of the fifth step of the second sequence
    (by_features,) = torch.autograd.grad(found[last].sum(), features)
    reached = by_features.abs().sum(1) > 0
    assert reached.nonzero()[:, 0].tolist() == [1, 5, 8, 11, 13]
    with torch.no_grad():
        less = features.clone()
        less[1, 0] -= 1e-2
        more = features.clone()
        more[1, 0] += 1e-2
        both = [layer(x, sequences_of(memory))[0][last].sum() for x in (more, less)]
    assert (both[0] - both[1]).item() / 2e-2 == pytest.approx(by_features[1, 0].item(), abs=1e-3)


def test_initial_weights_are_orthogonal_gate_by_gate_and_an_lstm_does_not_forget():
    torch.manual_seed(0)
    for kind, num_gates in (("gru", 3), ("lstm", 4)):
        layer = make_recurrent(kind, 8, 8)  # type: ignore[arg-type]
        assert layer is not None
        own = dict(layer.layer.named_parameters())
        for name in ("weight_ih_l0", "weight_hh_l0"):
            for gate in own[name].detach().split(8):
                torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
        biases = torch.zeros(num_gates * 8)
        if kind == "lstm":
            biases[8:16] = 1
        assert torch.equal(own["bias_ih_l0"].detach(), biases)
        assert not own["bias_hh_l0"].any()


def test_the_size_is_the_torsos_unless_told_and_always_a_multiple_of_four():
    sizes = [make_recurrent("gru", 7, size) for size in (0, 12)]
    assert [layer.feature_size for layer in sizes if layer is not None] == [8, 12]
    assert make_recurrent("none", 7, 0) is None


def model_of(config: NetworkConfig, precision: torch.dtype = torch.float32) -> ActorCritic:
    torch.manual_seed(2)
    image = config.network in ("impala", "nature")
    spec = ObservationSpec((36, 36, 3), "uint8") if image else ObservationSpec((5,), "float32")
    return ActorCritic(spec, Discrete(4), config, precision)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", ["mlp", "impala", "nature"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_torso_can_have_one_and_what_is_behind_it_is_float32(
    kind, network, shared, precision
):
    config = NetworkConfig(
        network=network, recurrent=kind, shared_torso=shared, recurrent_size=16, feature_size=24,
        hidden_sizes=(10,), conv_channels=(4, 4),
    )  # fmt: skip
    model = model_of(config, precision)
    assert model.memory_size == 16 * (1 + (kind == "lstm")) * (1 + (not shared))
    random = torch.randint(256, (3, *model.obs_spec.shape))
    obs = random.to(getattr(torch, model.obs_spec.dtype))
    assert not runs_directly(model, obs)
    memory = torch.randn(3, model.memory_size)
    outputs, values, after = model.recall(obs, Sequences.of_one_step(memory))
    assert (outputs.dtype, values.dtype, after.dtype) == (torch.float32,) * 3
    assert (outputs.shape, values.shape, after.shape) == ((3, 4), (3,), memory.shape)
    values.sum().backward()
    own = model.recurrent if shared else model.value_recurrent
    assert own is not None
    assert all(p.grad is not None and p.grad.any() for p in own.parameters() if p.dim() > 1)
    if not shared:
        assert model.recurrent is not None
        assert all(p.grad is None for p in model.recurrent.parameters())


def test_a_value_with_a_torso_of_its_own_remembers_for_itself():
    config = NetworkConfig(network="mlp", recurrent="gru", shared_torso=False, recurrent_size=8)
    model = model_of(config)
    memory = torch.randn(2, 16)
    obs = torch.randn(2, 5)
    outputs, values, _ = model.recall(obs, Sequences.of_one_step(memory))
    other = memory.clone()
    other[:, 8:] += 1
    same, changed, _ = model.recall(obs, Sequences.of_one_step(other))
    assert torch.equal(outputs, same)
    assert (values != changed).all()


def test_who_remembers_must_be_told_what_follows_what():
    with pytest.raises(AssertionError, match="told what follows what"):
        model_of(NetworkConfig(network="mlp", recurrent="gru"))(torch.zeros(2, 5))
    plain = model_of(NetworkConfig(network="mlp"))
    with pytest.raises(AssertionError, match="remembers nothing"):
        plain.recall(torch.zeros(2, 5), Sequences.of_one_step(torch.zeros(2, 0)))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_an_agents_layer_has_gradients_on_a_gpu_too(kind: str):
    layer, features, memory = random_case(kind)
    layer.eval()  # where cuDNN refuses them, and pictures of a value's derivative need them
    assert layer.layer.training
    layer.requires_grad_(False)
    features.requires_grad_()
    outputs, _ = layer(features[:4], Sequences.of_one_step(memory))
    (gradient,) = torch.autograd.grad(outputs.sum(), features)
    assert gradient[:4].abs().min() > 0
