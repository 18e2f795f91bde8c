"""Generative adversarial imitation: rewards for what a discriminator takes for the expert's.

Axes: N samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ppo_mpi.envs.base import ActionSpec, ObservationSpec
from ppo_mpi.rewards.base import RewardModel, Transitions
from ppo_mpi.rewards.discriminator import (
    Discriminator,
    classification_losses,
    gradient_penalties,
)
from ppo_mpi.settings.imitation import ImitationConfig
from ppo_mpi.settings.rewards import RewardsConfig


@dataclass(frozen=True)
class Pairs(Transitions):
    """N steps of the policy, each beside one of the expert."""

    expert_obs: Tensor
    """[N, ...] as the policy would see them."""
    expert_actions: Tensor
    """[N, ...] as the environments would be given them."""
    mix: Tensor
    """[N] float32 in [0, 1), the expert's share in what lies between the two."""


def imitation_rewards(logits: Tensor, form: str) -> Tensor:
    """Return rewards [N] float32 for logits [N] of D, the probability of being the expert's.

    Args:
        logits: log D - log(1 - D).
        form: logit; positive, -log(1 - D) >= 0; or negative, log D <= 0.
    """
    if form == "positive":
        return F.softplus(logits)
    return -F.softplus(-logits) if form == "negative" else logits


class Gail(RewardModel):
    """A discriminator of (observation, action), with a gradient penalty.

        loss = -log D(expert) - log(1 - D(policy)) + lambda * (|gradient of the logit| - target)^2

    Source:
        Ho and Ermon 2016, arXiv:1606.03476; penalty, numbers and the reward's default form as in
        pytorch-a2c-ppo-acktr-gail. There the running return behind the normalized reward ends with
        an episode; here it goes on, as for every reward model.
    """

    metrics = ("loss", "gradient_penalty", "expert_accuracy", "policy_accuracy")
    normalized = True
    imitates = True

    def __init__(
        self,
        obs_spec: ObservationSpec,
        action_spec: ActionSpec,
        config: RewardsConfig,
        imitation: ImitationConfig,
    ) -> None:
        super().__init__()
        sizes = imitation.discriminator_hidden_sizes
        self.discriminator = Discriminator(obs_spec, action_spec, config, sizes)
        self.form = imitation.gail_reward
        self.weight, self.target = imitation.gradient_penalty, imitation.gradient_penalty_target

    def logits(self, transitions: Transitions) -> Tensor:
        """Return the discriminator's logits of the policy's steps, [N] float32."""
        network = self.discriminator
        logits: Tensor = network(*network.inputs(transitions.obs, transitions.actions))
        return logits

    def rewards(self, transitions: Transitions) -> Tensor:
        """Return the rewards of the policy's steps, [N] float32."""
        return imitation_rewards(self.logits(transitions), self.form)

    def loss(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """Return the loss [] and ``metrics`` [4], each summed over the pairs."""
        assert isinstance(transitions, Pairs), "a discriminator learns from pairs"
        network = self.discriminator
        policy = network.inputs(transitions.obs, transitions.actions)
        expert = network.inputs(transitions.expert_obs, transitions.expert_actions)
        expert_logits, policy_logits = network(*expert), network(*policy)
        loss = classification_losses(expert_logits, policy_logits).sum()
        penalty = torch.zeros_like(loss)
        if self.weight:
            penalty = gradient_penalties(
                network, expert, policy, transitions.mix, self.target
            ).sum()
            loss = loss + self.weight * penalty
        right = (expert_logits > 0).sum(), (policy_logits < 0).sum()
        return loss, torch.stack([loss, penalty, *right]).detach()
