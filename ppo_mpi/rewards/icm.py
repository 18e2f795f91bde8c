"""The intrinsic curiosity module: what cannot be foreseen yet is worth a look.

Axes: N samples; F encoded numbers; K numbers of an action.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppo_mpi.envs.base import ActionSpec, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.rewards.actions import action_features, action_size, inverse_loss
from ppo_mpi.rewards.base import RewardModel, Transitions
from ppo_mpi.rewards.encoders import Encoder, Perceptron, in_unit_range, num_numbers
from ppo_mpi.settings.rewards import RewardsConfig


class Icm(RewardModel):
    """An encoder phi, an inverse model and a forward model.

        guess = forward(phi(s), a);     reward = eta / 2 * |guess - phi(s')|^2
        loss = beta * L_inverse(inverse(phi(s), phi(s')), a) + (1 - beta) / 2 * |guess - phi(s')|^2

    Source:
        Pathak et al. 2017, arXiv:1705.05363, eq. 2 to 7 (there beta is the forward loss's weight,
        and both are trained with the policy, whose optimizer they do not share here). The forward
        loss takes its target phi(s') as given: an encoder that it may move could make all
        observations alike, which are easily foreseen.
    """

    metrics = ("loss", "inverse_loss", "forward_loss")
    normalized = False

    def __init__(
        self, obs_spec: ObservationSpec, action_spec: ActionSpec, config: RewardsConfig
    ) -> None:
        """Make the networks.

        Raises:
            ConfigError: images are to be used without an encoder.
        """
        super().__init__()
        self.obs_spec, self.action_spec = obs_spec, action_spec
        self.beta, self.scale = config.icm_beta, config.icm_reward_scale
        size = config.encoded_size or num_numbers(obs_spec)
        if not config.encoded_size and obs_spec.has_images:
            raise ConfigError(
                "encoded_size=0 compares observations as they are, but these are images, or have "
                "some among their parts; use encoded_size=128 for an encoder"
            )
        self.encoder = Encoder(obs_spec, config, size) if config.encoded_size else None
        num = action_size(action_spec)
        self.inverse = Perceptron(2 * size, config.inverse_hidden_sizes, num)
        self.dynamics = Perceptron(size + num, config.forward_hidden_sizes, size)

    def encode(self, obs: Tensor) -> Tensor:
        """Return phi of observations, [N, F] float32."""
        prepared = in_unit_range(self.obs_spec, obs)
        if self.encoder is None:
            return prepared.flatten(1)
        encoded: Tensor = self.encoder(prepared)
        return encoded

    def squared_errors(self, encoded: Tensor, actions: Tensor, target: Tensor) -> Tensor:
        """Return |guess - target|^2 of the forward model, [N] float32.

        Args:
            encoded: [N, F] float32, phi of the observations.
            actions: as in ``Transitions``.
            target: [N, F] float32, phi of the next ones.
        """
        features = action_features(self.action_spec, actions)
        guess = self.dynamics(torch.cat([encoded, features], dim=1))
        return ((guess - target) ** 2).sum(-1)

    def rewards(self, transitions: Transitions) -> Tensor:
        """Return eta / 2 times the forward model's squared errors, [N] float32."""
        encoded, target = self.encode(transitions.obs), self.encode(transitions.next_obs)
        return self.scale / 2 * self.squared_errors(encoded, transitions.actions, target)

    def loss(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """Return the loss [] and ``metrics`` [3], each summed over the samples."""
        actions = transitions.actions
        encoded, following = self.encode(transitions.obs), self.encode(transitions.next_obs)
        outputs = self.inverse(torch.cat([encoded, following], dim=1))
        inverse = inverse_loss(self.action_spec, outputs, actions).sum()
        forward = self.squared_errors(encoded, actions, following.detach()).sum() / 2
        loss = self.beta * inverse + (1 - self.beta) * forward
        return loss, torch.stack([loss, inverse, forward]).detach()
