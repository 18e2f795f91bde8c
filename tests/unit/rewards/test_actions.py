"""Actions as inputs and targets of reward models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppo_mpi.envs.base import Box, Composite, Discrete, MultiBinary, MultiDiscrete
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


def test_each_choice_of_several_is_one_hot_and_guessed_by_logits_of_its_own():
    spec = MultiDiscrete((2, 3))
    actions = torch.tensor([[1, 0], [0, 2]])
    assert action_size(spec) == 5
    assert action_features(spec, actions).tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    outputs = torch.tensor([[0.0, 1.0, 2.0, 0.0, -1.0], [0.5, 0.5, 0.0, 0.0, 0.0]])
    p = torch.cat([outputs[:, :2].softmax(1), outputs[:, 2:].softmax(1)], 1)
    expected = [-(p[0, 1].log() + p[0, 2].log()).item(), -(p[1, 0].log() + p[1, 4].log()).item()]
    assert inverse_loss(spec, outputs, actions).tolist() == pytest.approx(expected)


def test_switches_are_guessed_by_one_logit_each():
    spec = MultiBinary(2)
    actions = torch.tensor([[1, 0]])
    assert action_features(spec, actions).tolist() == [[1.0, 0.0]]
    outputs = torch.tensor([[0.3, -0.7]])
    p = outputs.sigmoid()
    expected = -(p[0, 0].log() + (1 - p[0, 1]).log()).item()
    assert inverse_loss(spec, outputs, actions).tolist() == pytest.approx([expected])


def test_the_parts_of_a_composite_space_stand_side_by_side_and_their_losses_add_up():
    parts = (Discrete(2), Box((-1.0,), (1.0,)), MultiBinary(1))
    spec = Composite(parts)
    actions = torch.tensor([[1.0, 2.5, 0.0]])
    assert action_features(spec, actions).tolist() == [[0, 1, 1, 0]]
    outputs = torch.tensor([[0.1, 0.2, 0.5, 0.9]])
    own = [torch.tensor([1]), torch.tensor([[2.5]]), torch.tensor([[0]])]
    guesses = outputs.split([2, 1, 1], 1)
    expected = sum(
        inverse_loss(part, y, x).item() for part, y, x in zip(parts, guesses, own, strict=True)
    )
    assert inverse_loss(spec, outputs, actions).tolist() == pytest.approx([expected])
