"""RMSprop against torch's own class and its formula in plain Python, and what it loads."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ppo_mpi.learning.rmsprop import RMSprop


def network() -> nn.Module:
    torch.manual_seed(1)
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


def test_its_steps_are_those_of_torchs_class_to_the_bit():
    ours, theirs = network(), network()
    optimizer = RMSprop(list(ours.named_parameters()), 0.9, 1e-3)
    expected = torch.optim.RMSprop(theirs.parameters(), alpha=0.9, eps=1e-3)
    for step, learning_rate in enumerate([0.1, 0.03, 0.0, 0.2]):
        for model in (ours, theirs):
            set_gradients(model, step)
        optimizer.step(learning_rate)
        expected.param_groups[0]["lr"] = learning_rate
        expected.step()
        assert torch.equal(flat(ours), flat(theirs))
    for name, parameter in theirs.named_parameters():
        mean = optimizer.tensors()[f"{name}/square_avg"]
        assert torch.equal(mean, expected.state[parameter]["square_avg"])
        assert mean.stride() == parameter.stride()


def test_a_step_divides_by_the_root_of_the_mean_square_and_epsilon_stands_outside_of_it():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = RMSprop([("w", weight)], alpha=0.8, epsilon=0.5)
    expected, means = [1.0, -2.0], [0.0, 0.0]
    for gradients in ([0.3, 2.0], [-0.7, 0.0], [0.1, -1.0]):
        weight.grad = torch.tensor(gradients)
        optimizer.step(0.05)
        for i, gradient in enumerate(gradients):
            means[i] = 0.8 * means[i] + 0.2 * gradient**2
            expected[i] -= 0.05 * gradient / (math.sqrt(means[i]) + 0.5)
    assert weight.tolist() == pytest.approx(expected, rel=1e-6)


def test_what_stands_apart_has_its_own_rate_and_the_others_smoothing():
    ours, theirs = network(), network()
    optimizer = RMSprop(list(ours.named_parameters()), 0.99, 1e-5, {"2.weight", "2.bias"})
    groups = [
        {"params": list(theirs[0].parameters()), "lr": 0.1},
        {"params": list(theirs[2].parameters()), "lr": 0.03},
    ]
    expected = torch.optim.RMSprop(groups, alpha=0.99, eps=1e-5)
    for step in range(3):
        for model in (ours, theirs):
            set_gradients(model, step)
        optimizer.step(0.1, 0.03)
        expected.step()
        assert torch.equal(flat(ours), flat(theirs))


def test_what_was_saved_is_loaded_whatever_its_layout():
    model = network()
    first, second = (RMSprop(list(model.named_parameters()), 0.99, 1e-5) for _ in range(2))
    set_gradients(model, 0)
    first.step(0.1)
    second.load_tensors({name: t.clone().contiguous() for name, t in first.tensors().items()})
    for name, tensor in first.tensors().items():
        assert tensor.any()
        assert torch.equal(second.tensors()[name], tensor)
    second.load_tensors({})  # of a checkpoint before the first step
    with pytest.raises(KeyError):
        second.load_tensors({"another/square_avg": torch.zeros(1)})
