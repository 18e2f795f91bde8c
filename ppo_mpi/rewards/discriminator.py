"""The network that tells an expert's steps from a policy's, and what it learns by.

Axes: N samples; F numbers of an observation; K numbers of an action.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_mpi.envs.base import ActionSpec, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.initialization import initialize, initialize_torso
from ppo_mpi.networks.linear import AlignedLinear
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.rewards.actions import action_features, action_size
from ppo_mpi.rewards.encoders import SMALL_IMAGE, Encoder, in_unit_range
from ppo_mpi.settings.rewards import RewardsConfig


class Discriminator(nn.Module):
    """A perceptron on an observation beside an action; images come through an encoder.

    Its output is a logit: D = sigmoid(output) is the probability that the expert did it.
    """

    def __init__(
        self,
        obs_spec: ObservationSpec,
        action_spec: ActionSpec,
        config: RewardsConfig,
        hidden_sizes: tuple[int, ...],
    ) -> None:
        """Make the network.

        Raises:
            ConfigError: an encoder of which no gradient's gradient can be had.
        """
        super().__init__()
        self.obs_spec, self.action_spec = obs_spec, action_spec
        self.encoder: Encoder | None = None
        features = obs_spec.vector_size
        if obs_spec.has_images:
            features = config.reward_feature_size
            self.encoder = Encoder(obs_spec, _of_images(obs_spec, config), features)
        self.hidden = Mlp([features + action_size(action_spec), *hidden_sizes], nn.Tanh)
        self.head = AlignedLinear(self.hidden.feature_size, 1)
        initialize_torso(self.hidden, "orthogonal")
        initialize(self.head, "orthogonal", 1.0)

    def inputs(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``forward`` takes: observations with pixels up to 1, and [N, K] float32."""
        return in_unit_range(self.obs_spec, obs), action_features(self.action_spec, actions)

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return logits [N] for what ``inputs`` gives."""
        seen = obs if self.encoder is None else self.encoder(obs)
        logits: Tensor = self.head(self.hidden(torch.cat([seen, actions], 1)))
        return logits[:, 0]


def _of_images(spec: ObservationSpec, config: RewardsConfig) -> RewardsConfig:
    """Return the config of an encoder whose gradient can be differentiated again."""
    if config.reward_network == "impala":
        raise ConfigError(
            "reward_network=impala has no second derivatives, which the gradient penalty of "
            "reward_model=gail takes; use reward_network=nature, mlp or auto"
        )
    if config.reward_network != "auto":
        return config
    images = [part.shape for part in spec.parts if part.is_image] or [spec.shape]
    smallest = min(min(shape[:2]) for shape in images)
    return replace(config, reward_network="nature" if smallest >= SMALL_IMAGE else "mlp")


def classification_losses(expert_logits: Tensor, policy_logits: Tensor) -> Tensor:
    """Return -log D(expert) - log(1 - D(policy)) of each pair, [N] float32, nats.

    Source:
        Ho and Ermon 2016, arXiv:1606.03476, algorithm 1, with D for the expert's side.
    """
    return F.softplus(-expert_logits) + F.softplus(policy_logits)


def gradient_penalties(
    network: Discriminator,
    expert: tuple[Tensor, Tensor],
    policy: tuple[Tensor, Tensor],
    mix: Tensor,
    target: float,
) -> Tensor:
    """Return (|gradient of the logit| - target)^2 between each expert's and policy's step, [N].

    Args:
        network: gives the logits.
        expert: observations and actions as ``inputs`` gives them.
        policy: the same.
        mix: [N] float32 in [0, 1], the expert's share; one number for the whole step.
        target: of the gradient's norm, over all numbers of observation and action.

    Source:
        Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1; on a discriminator's logit as in
        pytorch-a2c-ppo-acktr-gail.
    """
    between = []
    for own, other in zip(expert, policy, strict=True):
        share = mix.view(-1, *[1] * (own.dim() - 1))
        between.append((share * own + (1 - share) * other).requires_grad_())
    with torch.enable_grad():
        total = network(*between).sum()
        gradients = torch.autograd.grad(total, between, create_graph=True)
    flat = torch.cat([own.flatten(1) for own in gradients], 1)
    return (torch.linalg.vector_norm(flat, dim=1) - target) ** 2
