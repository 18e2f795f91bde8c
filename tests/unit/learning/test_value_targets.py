"""Normalized value targets: the head's unit and back, on the statistics of all targets so far."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from ppo_mpi.agent import Agent
from ppo_mpi.build import build_run
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.learning.rollout import Batch, Rollout
from ppo_mpi.learning.value_targets import normalized_targets
from ppo_mpi.modes.train import run_iteration
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

COMM = Communicator()
SPEC = ObservationSpec((2,), "float32")


def make_model(normalize_values: bool = True) -> ActorCritic:
    torch.manual_seed(2)
    network = NetworkConfig(hidden_sizes=(4,))
    return ActorCritic(SPEC, Discrete(2), network, torch.float32, normalize_values)


def make_batch(model: ActorCritic, targets: torch.Tensor) -> Batch:
    obs = torch.randn(*targets.shape, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        values = model.in_returns(model.outputs(obs.flatten(0, 1))[1]).view_as(targets)
    none = np.zeros(targets.shape)
    zeros = torch.zeros(targets.shape)
    rollout = Rollout(obs, zeros, zeros, values, zeros, none, none, none)
    return Batch(rollout, zeros, targets)


def test_targets_are_normalized_by_all_of_them_so_far() -> None:
    model = make_model()
    random = np.random.default_rng(0)
    seen = []
    for scale, shift in ((5.0, 100.0), (1.0, 90.0), (20.0, -30.0)):
        targets = (random.standard_normal((6, 3)) * scale + shift).astype(np.float32)
        seen.append(targets.astype(np.float64).ravel())
        batch = make_batch(model, torch.from_numpy(targets))
        memory = batch.rollout.values
        found = normalized_targets(model, batch, COMM)
        everything = np.concatenate(seen)
        # The pseudo-sample at the beginning weighs 1e-4 of one.
        expected = (targets - everything.mean()) / everything.std()
        np.testing.assert_allclose(found.returns.numpy(), expected, rtol=2e-3, atol=2e-3)
        # The old values are what the head gives, whatever has moved, where they lay.
        with torch.no_grad():
            _, head = model.outputs(batch.rollout.obs.flatten(0, 1))
        assert found.rollout.values is memory
        torch.testing.assert_close(memory.flatten(), head, rtol=1e-3, atol=1e-4)
        values = model.in_returns(head)
        np.testing.assert_allclose(
            values.numpy(), head.numpy() * everything.std() + everything.mean(), rtol=1e-3
        )


def test_a_model_without_a_scale_learns_targets_as_they_are() -> None:
    model = make_model(normalize_values=False)
    batch = make_batch(model, torch.ones(2, 2))
    assert normalized_targets(model, batch, COMM) is batch
    assert "value_scale.mean" not in model.state_dict()
    head = torch.randn(3)
    assert model.in_returns(head) is head


def test_the_scale_is_saved_with_the_model() -> None:
    model, other = make_model(), make_model()
    normalized_targets(model, make_batch(model, torch.randn(4, 4) * 7 + 3), COMM)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    head = torch.randn(5)
    assert torch.equal(other.in_returns(head), model.in_returns(head))
    assert not torch.equal(model.in_returns(head), head)
    assert model.state_dict()["value_scale.variance"].dtype == torch.float64


@pytest.mark.parametrize("turns", [1, 2])
def test_everybody_sees_values_in_the_unit_of_returns(turns: int) -> None:
    values = {
        "env": "probe:constant", "num_envs": 2, "rollout_timesteps": 64, "num_minibatches": 2,
        "normalize_values": True, "normalize_rewards": False, "turns": turns, "discount": 0.9,
    }  # fmt: skip
    config = with_values(TrainConfig(), values)
    run = build_run(config, COMM)
    run_iteration(run, config, COMM)
    scale = run.model.value_scale
    assert scale is not None
    with torch.no_grad():
        scale.mean.fill_(50.0)
        scale.variance.fill_(4.0)
    rollout = run.collector.collect(1, True)
    with torch.no_grad():
        _, head = run.model.outputs(rollout.obs.flatten(0, 1))
    torch.testing.assert_close(rollout.values.flatten(), head * 2 + 50)
    assert float(rollout.next_values.min()) > 40
    agent = Agent(config, run.collector.actor.envs, 0, run.model, None, None)  # type: ignore[arg-type]
    shown = agent.act(np.ones((1, 1), np.float32), None).values
    torch.testing.assert_close(torch.from_numpy(shown), rollout.values[0, :1])
    run.close()
