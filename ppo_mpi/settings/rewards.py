"""Rewards that a model of its own gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.settings.checks import at_least, positive, schedules, within


@dataclass(frozen=True)
class RewardsConfig:
    """Rewards that a model of its own gives, and how it learns; without one all else is ignored."""

    reward_model: Literal["none", "icm", "rnd", "gail"] = "none"
    """Curiosity: intrinsic rewards by the error of a forward model (icm, arXiv:1705.05363) or of
    a distilled random network (rnd, arXiv:1810.12894); or imitation of expert_data (gail,
    arXiv:1606.03476); none for rewards of the environment only."""
    extrinsic_weight: float = 1.0
    """Factor on the environment's rewards, once they are normalized and clipped; only with a
    reward model."""
    intrinsic_weight: float = 1.0
    """Factor on the model's rewards (rnd published: 1 beside 2 on the environment's)."""
    intrinsic_weight_schedule: str = "constant"
    """How this factor goes on with the whole job's progress; linear ends at 0."""
    normalize_intrinsic_rewards: Literal["auto", "on", "off"] = "auto"
    """Whether they are divided by the running deviation of their discounted return over the job;
    auto: with rnd and gail, as published, and not with icm."""
    intrinsic_discount: float = 0.99
    """Discount of the return behind normalize_intrinsic_rewards (published: .99); this return
    goes on over the ends of episodes."""
    reward_learning_rate: float | None = None
    """Learning rate of the reward model's own Adam, constant; empty follows the policy's."""
    reward_epochs: int = 0
    """Passes of the reward model over each rollout, behind the policy's; 0 = num_epochs."""
    reward_max_grad_norm: float = 0.0
    """Largest norm of the reward model's whole gradient; 0 = no clipping."""
    reward_network: Literal["auto", "impala", "nature", "mlp"] = "auto"
    """Torso of encoder, target and predictor; auto takes mlp for vectors, nature for images of 36
    pixels or more and impala for smaller ones (gail: mlp for these, and no torso for vectors)."""
    reward_feature_size: int = 256
    """Features behind a torso of convolutions; mlp ignores it."""
    encoder_hidden_sizes: tuple[int, ...] = (128, 128, 128)
    """Hidden layers of the torso if it is mlp, with ReLU."""
    encoded_size: int = 128
    """Numbers that icm's encoder makes of an observation; 0 = the vector itself, no encoder."""
    inverse_hidden_sizes: tuple[int, ...] = (128, 128)
    """Hidden layers of icm's inverse model, which guesses the action from two observations."""
    forward_hidden_sizes: tuple[int, ...] = (128, 128)
    """Hidden layers of icm's forward model, which guesses the next observation."""
    icm_beta: float = 0.8
    """Weight of icm's inverse loss in [0, 1]; the forward loss has 1 - icm_beta (published: .8 and
    .2, where beta is the forward loss's)."""
    icm_reward_scale: float = 0.01
    """Twice the factor on the squared error of icm's forward model, eta in the paper."""
    rnd_output_size: int = 512
    """Numbers that rnd's networks make of an observation (published: 512)."""
    rnd_predictor_sizes: tuple[int, ...] = (512, 512)
    """Hidden layers that rnd's predictor has behind a torso like the target's (published)."""
    rnd_update_proportion: float = 1.0
    """Share of the samples, drawn at random, from which rnd learns (published: 1 for 32
    environments, .25 for 128)."""
    rnd_observation_clip: float = 5.0
    """Normalized observations are clipped to +- this for rnd (published: 5)."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(0, encoded_size=self.encoded_size, reward_epochs=self.reward_epochs)
        at_least(0, reward_max_grad_norm=self.reward_max_grad_norm)
        at_least(0, extrinsic_weight=self.extrinsic_weight, intrinsic_weight=self.intrinsic_weight)
        schedules(intrinsic_weight_schedule=self.intrinsic_weight_schedule)
        at_least(0, icm_reward_scale=self.icm_reward_scale)
        at_least(1, reward_feature_size=self.reward_feature_size)
        at_least(1, rnd_output_size=self.rnd_output_size)
        within(0, 1, icm_beta=self.icm_beta, intrinsic_discount=self.intrinsic_discount)
        within(0, 1, rnd_update_proportion=self.rnd_update_proportion)
        positive(rnd_update_proportion=self.rnd_update_proportion)
        positive(rnd_observation_clip=self.rnd_observation_clip)
        if self.reward_learning_rate is not None:
            positive(reward_learning_rate=self.reward_learning_rate)
        for name in (
            "encoder_hidden_sizes",
            "inverse_hidden_sizes",
            "forward_hidden_sizes",
            "rnd_predictor_sizes",
        ):
            for size in getattr(self, name):
                at_least(1, **{name: size})
