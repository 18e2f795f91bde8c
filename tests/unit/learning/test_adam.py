"""Adam against torch's own class, to the bit, and what it must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from ppo_mpi.learning.adam import STATE, Adam


def network(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    convolution = nn.Conv2d(3, 5, 3)
    convolution.weight.data = convolution.weight.data.to(memory_format=torch.channels_last)
    return nn.Sequential(convolution, nn.Flatten(), nn.Linear(5 * 36, 7))


def set_gradients(model: nn.Module, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        numbers = torch.randn(parameter.shape, generator=random)
        parameter.grad = torch.empty_like(parameter).copy_(numbers)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_its_steps_are_those_of_torchs_class():
    ours, theirs = network(), network()
    optimizer = Adam(list(ours.named_parameters()), epsilon=1e-5)
    expected = torch.optim.Adam(theirs.parameters(), eps=1e-5, fused=True)
    for step, learning_rate in enumerate([0.1, 0.03, 0.0, 0.2]):
        for model in (ours, theirs):
            set_gradients(model, step)
        optimizer.step(learning_rate)
        expected.param_groups[0]["lr"] = learning_rate
        expected.step()
        assert torch.equal(flat(ours), flat(theirs))
    names = [name for name, _ in theirs.named_parameters()]
    tensors = optimizer.tensors()
    assert set(tensors) == {f"{name}/{key}" for name in names for key in STATE}
    for name, parameter in theirs.named_parameters():
        for key in STATE:
            assert torch.equal(tensors[f"{name}/{key}"], expected.state[parameter][key])


def test_moments_lie_in_memory_as_their_parameters_do():
    model = network()
    tensors = Adam(list(model.named_parameters()), 1e-5).tensors()
    for name, parameter in model.named_parameters():
        assert tensors[f"{name}/exp_avg"].stride() == parameter.stride()


def test_what_was_saved_is_loaded_whatever_its_layout():
    model = network()
    first = Adam(list(model.named_parameters()), 1e-5)
    set_gradients(model, 0)
    first.step(0.1)
    second = Adam(list(model.named_parameters()), 1e-5)
    second.load_tensors({name: t.clone().contiguous() for name, t in first.tensors().items()})
    for name, tensor in first.tensors().items():
        assert torch.equal(second.tensors()[name], tensor)
    second.load_tensors({})  # of a checkpoint before the first step
    with pytest.raises(KeyError):
        second.load_tensors({"another/exp_avg": torch.zeros(1)})


def test_an_update_does_not_load_torchs_compiler():
    code = (
        "import sys, torch; from torch import nn; from ppo_mpi.learning.adam import Adam; "
        "m = nn.Linear(2, 3); m(torch.ones(1, 2)).sum().backward(); "
        "Adam(list(m.named_parameters()), 1e-5).step(0.1); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("rates", [(0.1, 0.03), (0.05, 0.0), (0.1, 0.1)])
def test_what_stands_apart_has_its_own_rate_and_the_others_steps(rates):
    ours, theirs = network(), network()
    named = list(ours.named_parameters())
    optimizer = Adam(named, epsilon=1e-5, apart={"2.weight", "2.bias"})
    groups = [
        {"params": list(theirs[0].parameters()), "lr": rates[0]},
        {"params": list(theirs[2].parameters()), "lr": rates[1]},
    ]
    expected = torch.optim.Adam(groups, eps=1e-5, fused=True)
    for step in range(3):
        for model in (ours, theirs):
            set_gradients(model, step)
        optimizer.step(*rates)
        expected.step()
        assert torch.equal(flat(ours), flat(theirs))
    assert optimizer.tensors()["0.bias/step"].item() == 3
