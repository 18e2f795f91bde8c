"""Random network distillation against a slow version in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.rewards.base import Transitions
from ppo_mpi.rewards.rnd import Rnd, job_moments
from ppo_mpi.settings.rewards import RewardsConfig

COMM = Communicator()
CONFIG = RewardsConfig(
    encoder_hidden_sizes=(6,), rnd_output_size=5, rnd_predictor_sizes=(7,), rnd_observation_clip=1.5
)


def make_rnd(
    shape: tuple[int, ...] = (3,), dtype: str = "float32", config: RewardsConfig = CONFIG
) -> Rnd:
    torch.manual_seed(1)
    return Rnd(ObservationSpec(shape, dtype), Discrete(2), config)


def perceptron(module: nn.Module, x: np.ndarray, relus: list[bool]) -> np.ndarray:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    for layer, relu in zip(layers, relus, strict=True):
        x = x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        x = np.maximum(x, 0) if relu else x
    return x


def test_the_reward_is_the_mean_squared_error_at_normalized_next_observations():
    model = make_rnd()
    random = np.random.default_rng(0)
    rollout = torch.from_numpy(random.normal(3, 2, (20, 4, 3)).astype(np.float32))
    model.observe(rollout, COMM)
    obs, next_obs = torch.randn(2, 6, 3) * 4
    given = Transitions(obs, torch.zeros(6, dtype=torch.int64), next_obs)
    seen = rollout.double().numpy().reshape(-1, 3)
    # The starting count of 1e-4 of the running moments is small beside 80 samples.
    x = np.clip((next_obs.numpy() - seen.mean(0)) / seen.std(0), -1.5, 1.5)
    assert (np.abs(x) == 1.5).any()
    guess = perceptron(model.predictor, x, [True, True, False])
    target = perceptron(model.target, x, [True, False])
    expected = [np.mean([(a - b) ** 2 for a, b in zip(*pair, strict=True)])
                for pair in zip(guess, target, strict=True)]  # fmt: skip
    np.testing.assert_allclose(model.rewards(given).detach(), expected, rtol=1e-3)
    loss, sums = model.loss(given)
    np.testing.assert_allclose([loss.item(), *sums], [np.sum(expected)] * 2, rtol=1e-3)


def test_only_the_predictor_learns_and_what_it_has_seen_is_no_longer_new():
    model = make_rnd(config=RewardsConfig(encoder_hidden_sizes=(64,), rnd_output_size=16))
    seen = torch.randn(32, 3)
    model.observe(seen[None], COMM)
    new = Transitions(seen, torch.zeros(32, dtype=torch.int64), -3 + 0.1 * torch.randn(32, 3))
    old = Transitions(seen, new.actions, seen)
    before = [p.clone() for p in model.target.parameters()]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        (model.loss(old)[0] / 32).backward()
        optimizer.step()
    for parameter, first in zip(model.target.parameters(), before, strict=True):
        assert torch.equal(parameter, first)
        assert parameter.grad is None
    assert model.rewards(old).mean() < 0.1 * model.rewards(new).mean()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_moments_of_a_rollout_are_those_of_numpy(dtype: str):
    random = np.random.default_rng(2)
    obs = random.integers(0, 256, (9, 2, 4, 5, 3)).astype(dtype)
    if dtype == "float32":
        obs = obs[:, :, 0, 0]
    count, mean, variance = job_moments(torch.from_numpy(obs), COMM)
    rows = obs.astype(np.float64).reshape(18, *obs.shape[2:])
    assert count == 18
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(variance, rows.var(0), rtol=1e-9)


def test_statistics_go_on_over_rollouts_and_pixels_that_never_change_are_harmless():
    model = make_rnd((8, 8, 3), "uint8")
    first = torch.randint(256, (5, 2, 8, 8, 3), dtype=torch.uint8)
    first[:, :, 0] = 7
    second = first.flip(0) // 2
    second[:, :, 0] = 7
    for rollout in (first, second):
        model.observe(rollout, COMM)
    both = torch.cat([first, second]).double().flatten(0, 1)
    statistics = model.moments()["rnd_observation"]
    np.testing.assert_allclose(statistics.mean, both.mean(0), rtol=1e-3)
    np.testing.assert_allclose(statistics.variance, both.var(0, correction=0), rtol=1e-2, atol=1e-2)
    normalized = model.normalize(first.flatten(0, 1))
    assert normalized.isfinite().all()
    assert normalized.abs().max() <= 1.5
    given = Transitions(first[0], torch.zeros(2, dtype=torch.int64), first[1])
    assert (model.rewards(given) > 0).all()
