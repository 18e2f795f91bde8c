"""Action distributions against torch's own, and noise that does not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_mpi.envs.base import Box, Discrete
from ppo_mpi.networks.distributions import Categorical, DiagonalGaussian, draw_noise, running_sums


def test_a_categorical_is_torchs():
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * 3
    ours, torchs = Categorical(logits), torch.distributions.Categorical(logits=logits)
    actions = torch.arange(50) % 6
    torch.testing.assert_close(ours.log_prob(actions), torchs.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), torchs.entropy())
    assert torch.equal(ours.mode(), logits.argmax(-1))


def test_a_gaussian_is_torchs():
    generator = torch.Generator().manual_seed(1)
    mean, log_std = torch.randn(50, 3, generator=generator), torch.tensor([-1.0, 0.0, 0.7])
    actions = torch.randn(50, 3, generator=generator)
    ours = DiagonalGaussian(mean, log_std)
    torchs = torch.distributions.Normal(mean, log_std.exp().expand_as(mean))
    torch.testing.assert_close(ours.log_prob(actions), torchs.log_prob(actions).sum(-1))
    torch.testing.assert_close(ours.entropy(), torchs.entropy().sum(-1))
    assert torch.equal(ours.mode(), mean)


@pytest.mark.parametrize("of_entropy", [0.0, -0.3])
def test_gradients_by_hand_are_autograds(of_entropy: float):
    generator = torch.Generator().manual_seed(2)
    outputs = torch.randn(50, 4, generator=generator).requires_grad_()
    log_std = torch.tensor([-1.0, 0.0, 0.7, 0.1]).requires_grad_()
    of_log_prob = torch.randn(50, generator=generator)
    categorical, gaussian = Categorical(outputs), DiagonalGaussian(outputs, log_std)
    for distribution, sources, actions in (
        (categorical, [outputs], torch.arange(50) % 4),
        (gaussian, [outputs, log_std], torch.randn(50, 4, generator=generator)),
    ):
        total = distribution.log_prob(actions) @ of_log_prob
        total = total + of_entropy * distribution.entropy().sum()
        expected = torch.autograd.grad(total, sources)
        with torch.no_grad():
            found = distribution.gradients(actions, of_log_prob, of_entropy)
        for gradient, other in zip(found, expected, strict=True):
            torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


def test_gaussian_samples_are_the_noise_scaled_and_shifted():
    distribution = DiagonalGaussian(torch.tensor([[1.0, -2.0]]), torch.tensor([0.0, 2.0]).log())
    assert distribution.sample(torch.tensor([[3.0, 0.5]])).tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize(
    ("noise", "action"), [(0.0, 0), (0.249, 0), (0.251, 1), (0.749, 1), (0.751, 2), (0.9999, 2)]
)
def test_categorical_samples_invert_the_distribution_function(noise, action):
    distribution = Categorical(torch.tensor([[0.25, 0.5, 0.25]]).log())
    assert distribution.sample(torch.tensor([[noise]], dtype=torch.float64)).tolist() == [action]


def test_categorical_samples_have_the_policys_frequencies():
    probabilities = torch.tensor([0.1, 0.6, 0.05, 0.25])
    noise = torch.from_numpy(np.random.default_rng(0).random((40_000, 1)))
    actions = Categorical(probabilities.log().expand(40_000, 4)).sample(noise)
    frequencies = torch.bincount(actions, minlength=4) / 40_000
    torch.testing.assert_close(frequencies, probabilities, atol=0.01, rtol=0.0)


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-53])
def test_an_action_without_probability_is_never_taken(noise):
    never = -float("inf")
    distribution = Categorical(torch.tensor([[never, 0.0, 1.0, never]]))
    action = distribution.sample(torch.tensor([[noise]], dtype=torch.float64))
    assert action.item() in (1, 2)


def test_noise_has_the_shape_and_the_law_of_its_action_space():
    random = np.random.default_rng(0)
    uniform = draw_noise(random, 20_000, Discrete(7))
    assert uniform.shape == (20_000, 1)
    assert 0 <= uniform.min() < uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    normal = draw_noise(random, 20_000, Box((-1.0, -1.0), (1.0, 1.0)))
    assert normal.shape == (20_000, 2)
    assert normal.mean(0) == pytest.approx([0, 0], abs=0.03)
    assert normal.std(0) == pytest.approx([1, 1], abs=0.03)


def test_running_sums_have_the_bits_of_torchs():
    x = torch.rand(33, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(running_sums(x), x.cumsum(-1))
