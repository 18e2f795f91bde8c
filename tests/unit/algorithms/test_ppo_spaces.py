"""PPO's gradient by hand is autograd's in every action space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spaces import random_actions

from ppo_mpi.algorithms.ppo import ppo_gradients, ppo_loss
from ppo_mpi.envs.base import Box, Composite, Discrete, MultiBinary, MultiDiscrete, ObservationSpec
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.direct import runs_directly
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.network import NetworkConfig

COUNT = 30
BOX = Box((-1.0, 2.0), (1.0, 2.5))
SPACES = (
    MultiDiscrete((2, 4)), MultiBinary(3), BOX,
    Composite((Discrete(3), BOX, MultiBinary(2))), Composite((MultiDiscrete((2, 3)), Discrete(2))),
)  # fmt: skip
SQUASH = {"box_actions": "squash", "std_function": "softplus", "min_std": 0.01}


@pytest.mark.parametrize("settings", [{}, SQUASH])
@pytest.mark.parametrize("shared_torso", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_the_gradient_by_hand_is_autograds(space, shared_torso: bool, settings: dict[str, Any]):
    torch.manual_seed(1)
    network = NetworkConfig(hidden_sizes=(6,), shared_torso=shared_torso, **settings)
    model = ActorCritic(ObservationSpec((4,), "float32"), space, network, torch.float32)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    obs, noise = torch.randn(COUNT, 4), torch.randn(4, COUNT)
    assert runs_directly(model, obs)
    actions = torch.from_numpy(random_actions(space, np.random.default_rng(2), COUNT))
    with torch.no_grad():
        distribution, values = model(obs)
        old_log_probs = distribution.log_prob(actions) + 0.3 * noise[0]
    minibatch = Minibatch(
        obs, actions, old_log_probs, values + 0.3 * noise[1], noise[2], values + noise[3]
    )
    config = LearningConfig(value_coef=0.7, entropy_coef=0.03)
    loss, sums = ppo_loss(model, minibatch, config, 0.2)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    found, same_sums = ppo_gradients(model, minibatch, config, 0.2)
    torch.testing.assert_close(same_sums, sums)
    for (name, _), gradient, other in zip(model.named_parameters(), found, expected, strict=True):
        assert gradient.shape == other.shape, name
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-4)
        assert other.any(), name
