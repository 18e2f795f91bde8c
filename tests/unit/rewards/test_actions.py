"""Actions as inputs and targets of reward models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_mpi.envs.base import Box, Discrete
from ppo_mpi.rewards.actions import action_features, action_size, inverse_loss


def test_discrete_actions_are_one_hot_and_guessed_by_logits():
    spec = Discrete(3)
    actions = torch.tensor([2, 0])
    assert action_size(spec) == 3
    assert action_features(spec, actions).tolist() == [[0, 0, 1], [1, 0, 0]]
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    expected = [-np.log(p[0, 2]), -np.log(p[1, 0])]
    assert inverse_loss(spec, logits, actions).tolist() == pytest.approx(expected)


def test_of_continuous_actions_counts_what_the_environment_was_given():
    spec = Box((-1.0, -2.0), (1.0, float("inf")))
    actions = torch.tensor([[3.0, 5.0], [0.25, -9.0]])
    assert action_size(spec) == 2
    assert action_features(spec, actions).tolist() == [[1.0, 5.0], [0.25, -2.0]]
    outputs = torch.tensor([[1.0, 4.0], [0.75, -2.0]])
    assert inverse_loss(spec, outputs, actions).tolist() == pytest.approx([0.5, 0.125])
