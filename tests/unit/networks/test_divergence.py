"""KL divergences against torch's and against their definition as a mean of log ratios."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, distributions

from ppo_mpi.envs.spaces import (
    ActionSpec,
    Box,
    Composite,
    Discrete,
    MultiBinary,
    MultiDiscrete,
)
from ppo_mpi.networks.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
)
from ppo_mpi.networks.divergence import kl_divergence
from ppo_mpi.networks.policies import PolicyKind
from ppo_mpi.settings.network import NetworkConfig


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_of_choices_it_is_torchs():
    old, new = numbers(9, 4, seed=0), numbers(9, 4, seed=1)
    expected = distributions.kl_divergence(
        distributions.Categorical(logits=old), distributions.Categorical(logits=new)
    )
    found = kl_divergence(Categorical(old), Categorical(new))
    torch.testing.assert_close(found, expected)
    assert found.min() > 0


def test_of_several_choices_of_unequal_sizes_it_is_their_sum():
    old, new = numbers(9, 5, seed=0), numbers(9, 5, seed=1)
    expected = sum(
        kl_divergence(Categorical(old[:, own]), Categorical(new[:, own]))
        for own in (slice(0, 2), slice(2, 5))
    )
    found = kl_divergence(MultiCategorical(old, (2, 3)), MultiCategorical(new, (2, 3)))
    torch.testing.assert_close(found, expected)


def test_of_switches_it_is_torchs():
    old, new = numbers(9, 3, seed=0), numbers(9, 3, seed=1)
    expected = distributions.kl_divergence(
        distributions.Bernoulli(logits=old), distributions.Bernoulli(logits=new)
    ).sum(-1)
    torch.testing.assert_close(kl_divergence(Bernoulli(old), Bernoulli(new)), expected)


def test_of_normal_numbers_it_is_torchs_in_both_directions():
    mean, log_std = numbers(2, 9, 3, seed=0), numbers(2, 3, seed=1)
    ours = [DiagonalGaussian(m, s) for m, s in zip(mean, log_std, strict=True)]
    theirs = [distributions.Normal(m, s.exp()) for m, s in zip(mean, log_std, strict=True)]
    for a, b in ((0, 1), (1, 0)):
        expected = distributions.kl_divergence(theirs[a], theirs[b]).sum(-1)
        torch.testing.assert_close(kl_divergence(ours[a], ours[b]), expected)


BOX = Box((-1.0, -2.0), (1.0, 3.0))


@pytest.mark.parametrize(
    "spec", [BOX, Composite((Discrete(3), BOX, MultiDiscrete((2, 4)), MultiBinary(2)))]
)
def test_of_squashed_and_of_joint_policies_it_is_the_mean_log_ratio_of_samples(spec: ActionSpec):
    kind = PolicyKind(spec, NetworkConfig(box_actions="squash"))
    own = torch.tensor([-0.4, 0.3])
    old, new = (
        kind.distribution(numbers(1, spec.num_outputs, seed=s).expand(40_000, -1), own + s * 0.2)
        for s in (0, 1)
    )
    noise = torch.rand(40_000, spec.noise_size, generator=torch.Generator().manual_seed(5)).double()
    if isinstance(spec, Box):
        noise = torch.special.ndtri(noise)
    else:
        noise[:, 1:3] = torch.special.ndtri(noise[:, 1:3])
    actions = old.sample(noise)
    ratios = old.log_prob(actions) - new.log_prob(actions)
    error = float(ratios.std() / 200)
    assert float(kl_divergence(old, new)[0]) == pytest.approx(float(ratios.mean()), abs=4 * error)


def test_a_policy_is_not_apart_from_itself_and_the_gradient_there_is_zero():
    logits = numbers(9, 4, seed=0).requires_grad_()
    divergence = kl_divergence(Categorical(logits.detach()), Categorical(logits)).sum()
    (gradient,) = torch.autograd.grad(divergence, [logits])
    assert abs(divergence.item()) < 1e-6
    assert gradient.abs().max() < 1e-6


def test_policies_of_two_kinds_are_refused():
    with pytest.raises(AssertionError, match="one kind"):
        kl_divergence(Categorical(torch.zeros(1, 2)), Bernoulli(torch.zeros(1, 2)))
