"""Squashed normal numbers: their density and their entropy by numerical integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ppo_mpi.networks.distributions import DiagonalGaussian
from ppo_mpi.networks.squashed import SquashedGaussian, gauss_hermite, log_slope

LOW, HIGH = 2.0, 2.5
MEANS = [-6.0, -1.5, 0.0, 0.4, 3.0]
STDS = [0.05, 0.5, 1.0, 2.0]


def policy(mean: float, std: float, num: int = 1) -> SquashedGaussian:
    normal = DiagonalGaussian(torch.full((num, 1), mean), torch.tensor([math.log(std)]))
    half = torch.tensor([math.log((HIGH - LOW) / 2)])
    return SquashedGaussian(normal, half, gauss_hermite())


def exact_entropy(mean: float, std: float) -> float:
    """Return -E log p(a), by the midpoint rule over u, in float64."""
    u = mean + std * np.linspace(-9, 9, 200_001)
    density = np.exp(-((u - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    # 1 - tanh^2 = 4 / (e^u + e^-u)^2
    log_widths = math.log((HIGH - LOW) / 2) + math.log(4) - 2 * np.logaddexp(u, -u)
    log_p = -((u - mean) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi)) - log_widths
    return float(-(density * log_p).sum() * (u[1] - u[0]))


@pytest.mark.parametrize("mean", [-1.5, 0.0, 0.4])
@pytest.mark.parametrize("std", [0.3, 0.5, 1.0])
def test_the_density_of_the_actions_integrates_to_one_within_the_bounds(mean: float, std: float):
    edges = np.linspace(LOW, HIGH, 200_001)
    actions = (edges[1:] + edges[:-1]) / 2
    u = np.arctanh((actions - LOW) / (HIGH - LOW) * 2 - 1)
    own = policy(mean, std, len(u)).log_prob(torch.from_numpy(u[:, None]).float())
    density = own.double().exp().numpy()
    width = edges[1] - edges[0]
    assert (density * width).sum() == pytest.approx(1, abs=2e-3)
    mean_action = (density * actions * width).sum()
    draws = mean + std * np.random.default_rng(0).standard_normal(400_000)
    expected = (LOW + (HIGH - LOW) / 2 * (1 + np.tanh(draws))).mean()
    assert mean_action == pytest.approx(expected, abs=1e-3)


def test_the_slope_is_finite_and_right_where_its_formula_is_not():
    u = torch.tensor([-200.0, -60.0, -3.0, 0.0, 1e-3, 3.0, 60.0, 200.0])
    exact = [math.log(4) - 2 * np.logaddexp(x, -x) for x in u.double().tolist()]
    np.testing.assert_allclose(log_slope(u).double().numpy(), exact, rtol=1e-6, atol=1e-6)
    assert torch.isinf(torch.log(1 - u.tanh() ** 2)).any(), "the plain formula would do"


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("std", STDS)
def test_the_entropy_is_that_of_the_density(mean: float, std: float):
    # The slope has a kink, seen from afar: the nodes miss a little where the deviation is large.
    error = 0.002 if std <= 1 else 0.03
    assert policy(mean, std).entropy().item() == pytest.approx(exact_entropy(mean, std), abs=error)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("std", STDS)
def test_the_entropys_gradient_is_that_of_the_density(mean: float, std: float):
    with torch.no_grad():
        by_mean, by_log_std = policy(mean, std).gradients(torch.zeros(1, 1), torch.zeros(1), 1.0)
    step = 1e-4
    expected = [
        (exact_entropy(mean + step, std) - exact_entropy(mean - step, std)) / (2 * step),
        (exact_entropy(mean, std * math.exp(step)) - exact_entropy(mean, std * math.exp(-step)))
        / (2 * step),
    ]
    error = 0.01 if std <= 1 else 0.1
    assert [by_mean.item(), by_log_std.item()] == pytest.approx(expected, abs=error)


def test_the_entropy_has_no_more_than_a_uniform_number_and_grows_towards_it():
    """So a bonus on it does not drive the deviation to infinity."""
    uniform = math.log(HIGH - LOW)
    entropies = [policy(0.0, std).entropy().item() for std in (0.1, 0.3, 0.6, 0.87)]
    assert entropies == sorted(entropies)
    assert uniform - 0.05 < entropies[-1] < uniform
    assert policy(0.0, 20.0).entropy().item() < entropies[-1]


def test_ratios_are_those_of_the_normal_numbers():
    """The change of variables cancels: what is stored is the number before the tangent."""
    u = torch.tensor([[0.3], [-4.0], [12.0]])
    first, second = policy(0.1, 0.7, 3), policy(-0.2, 1.1, 3)
    ratios = first.log_prob(u) - second.log_prob(u)
    normal = first.normal.log_prob(u) - second.normal.log_prob(u)
    torch.testing.assert_close(ratios, normal, rtol=1e-4, atol=1e-5)
