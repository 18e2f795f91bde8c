"""The algorithm and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.settings.checks import at_least, positive, within


@dataclass(frozen=True)
class LearningConfig:
    """The algorithm and its numbers."""

    algorithm: Literal["ppo"] = "ppo"
    """Algorithm."""
    rollout_timesteps: int = 16_384
    """Timesteps of one iteration, over all environments: num_envs times the rollout's steps
    (published easy: 64 x 256)."""
    soft_resets: Literal["on", "off", "scheduled"] = "on"
    """Whether a rollout continues the episodes where the last one stopped (on), begins fresh ones
    (off), or begins fresh ones until soft_resets_from and continues after that (scheduled)."""
    soft_resets_from: float = 0.5
    """Progress in [0, 1] of the whole job from which scheduled soft resets are on."""
    num_epochs: int = 3
    """Passes over the rollout in each iteration (published: 3)."""
    num_minibatches: int = 8
    """Optimizer steps in each epoch (published: 8)."""
    microbatch_size: int = 0
    """Samples that go through the network at once on a rank; a minibatch larger than that is
    accumulated (averaged: the gradient does not change). 0 = what is measured to be fastest when
    the run begins, for images on processors; a rank's share at once elsewhere."""
    discount: float = 0.999
    """Discount of the return, gamma."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation; 1 gives discounted returns minus values."""
    learning_rate: float = 5e-4
    """Adam's learning rate at the start."""
    learning_rate_schedule: Literal["constant", "linear"] = "linear"
    """How the learning rate goes on: constant (published baseline) or linearly down to
    final_learning_rate at total_timesteps."""
    final_learning_rate: float = 0.0
    """Learning rate at the end of the linear schedule."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon."""
    clip_range: float = 0.2
    """Clip of the probability ratio, and of the value change if clip_values is on."""
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    """How the clip goes on: constant, or linearly down to 0 at total_timesteps."""
    clip_values: bool = True
    """Whether the value loss is clipped around the old values."""
    value_coef: float = 0.5
    """Weight of the value loss, which is half the mean squared error."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus, per nat."""
    max_grad_norm: float = 0.5
    """Largest norm of the whole gradient; 0 = no clipping."""
    target_kl: float | None = None
    """Mean KL divergence of the job, in nats, after which the epochs of an iteration end."""
    normalize_advantages: Literal["rollout", "minibatch", "none"] = "rollout"
    """Over what advantages get mean 0 and deviation 1: the job's rollout, the job's minibatch
    (published baseline), or not at all."""
    normalize_rewards: bool = True
    """Whether rewards are divided by the running deviation of the discounted return."""
    reward_discount: float = 0.99
    """Discount of the return behind normalize_rewards (published: .99, not discount)."""
    reward_clip: float = 10.0
    """Normalized rewards are clipped to +- this."""
    normalize_observations: bool = False
    """Whether vectors are normalized per feature by the job's running mean and deviation."""
    observation_clip: float = 10.0
    """Normalized observations are clipped to +- this."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(1, rollout_timesteps=self.rollout_timesteps)
        at_least(1, num_epochs=self.num_epochs, num_minibatches=self.num_minibatches)
        at_least(0, microbatch_size=self.microbatch_size)
        at_least(0, entropy_coef=self.entropy_coef, max_grad_norm=self.max_grad_norm)
        within(0, 1, discount=self.discount, gae_lambda=self.gae_lambda)
        within(0, 1, reward_discount=self.reward_discount, soft_resets_from=self.soft_resets_from)
        positive(learning_rate=self.learning_rate, clip_range=self.clip_range)
        positive(reward_clip=self.reward_clip)
        if self.target_kl is not None:
            positive(target_kl=self.target_kl)
