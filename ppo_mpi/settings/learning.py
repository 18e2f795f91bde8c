"""The algorithm and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import (
    ascending,
    at_least,
    positive,
    range_or_empty,
    schedules,
    within,
)

OPTIMIZERS = {"a2c": "rmsprop"}
"""Algorithm -> the optimizer that it was published with, where that is not Adam."""
ONE_STEP = ("a2c",)
"""Algorithms whose policy gradient is that of the policy that collected the rollout: they take one
step on all of it."""
_OF_SEVERAL_STEPS = (
    "clip_range", "clip_range_schedule", "clip_values", "target_kl", "kl_stop_factor",
)  # fmt: skip


@dataclass(frozen=True)
class LearningConfig:
    """The algorithm and its numbers."""

    algorithm: Literal["ppo", "ppg", "a2c"] = "ppo"
    """Algorithm: ppo, ppg (phasic policy gradient), or a2c (advantage actor-critic)."""
    rollout_timesteps: int = 16_384
    """Timesteps of one iteration, over all environments: num_envs times the rollout's steps
    (published easy: 64 x 256)."""
    soft_resets: Literal["on", "off", "scheduled"] = "on"
    """Whether a rollout continues the episodes where the last one stopped (on), begins fresh ones
    (off), or begins fresh ones until soft_resets_from and continues after that (scheduled)."""
    soft_resets_from: float = 0.5
    """Progress in [0, 1] of the whole job from which scheduled soft resets are on."""
    soft_resets_switches: tuple[float, ...] = ()
    """Later places of progress where scheduled soft resets go off, on again, and so on."""
    max_segment_steps: int = 0
    """Steps of an episode within a rollout after which advantages and targets are cut and
    bootstrapped with the value; the episode goes on (PPO And Friends: 16 to 200). 0 = none."""
    num_epochs: int = 3
    """Passes over the rollout in each iteration (published: 3)."""
    num_minibatches: int = 8
    """Optimizer steps in each epoch (published: 8)."""
    microbatch_size: int = 0
    """Samples that go through the network at once on a rank; a minibatch larger than that is
    accumulated (averaged: the gradient does not change). 0 = what is measured to be fastest when
    the run begins, for images on processors; a rank's share at once elsewhere."""
    sequence_steps: int = 0
    """With a recurrent policy: steps through which gradients go back. Rollouts are dealt to
    minibatches in sequences of so many steps, each begun with what was remembered there when it
    was collected; the last one of a rollout may be shorter. 0 = a rollout's steps (published)."""
    discount: float = 0.999
    """Discount of the return, gamma."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation; 1 gives discounted returns minus values."""
    learning_rate: float = 5e-4
    """The optimizer's learning rate at the start."""
    learning_rate_schedule: str = "linear"
    """How the learning rate goes on with the whole job's progress: constant (published baseline),
    linear (down to final_learning_rate at total_timesteps), or one of linear:1e-4, linear:0.1x@0.5
    (to a tenth of the start at half the job), log:END@AT, cosine:END@AT, one_cycle:END@PEAK,
    piecewise:0.3=1e-4,0.7=5e-5. All schedules are written so."""
    final_learning_rate: float = 0.0
    """Learning rate at the end of a schedule that names none."""
    value_learning_rate: float | None = None
    """Learning rate of the value head and, without a shared torso, of the values' own torso; none =
    learning_rate."""
    value_learning_rate_schedule: str = ""
    """How the value learning rate goes on; empty = as learning_rate_schedule."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon."""
    optimizer: Literal["auto", "adam", "rmsprop"] = "auto"
    """What changes the policy's parameters by their gradients; auto takes what the algorithm was
    published with: rmsprop for a2c, else adam."""
    rmsprop_alpha: float = 0.99
    """What an optimizer step leaves of RMSprop's mean of squared gradients (published: .99)."""
    rmsprop_epsilon: float = 1e-5
    """RMSprop's epsilon, added to the root of that mean (published: 1e-5)."""
    clip_range: float = 0.2
    """Clip of the probability ratio, and of the value change if clip_values is on."""
    clip_range_schedule: str = "constant"
    """How the clip goes on; linear ends at 0."""
    clip_values: bool = True
    """Whether the value loss is clipped around the old values."""
    value_loss: Literal["half_squared", "squared", "huber"] = "half_squared"
    """Error of the values: half their squared error, their squared error, or huber (half squared
    up to huber_delta, linear beyond it)."""
    huber_delta: float = 10.0
    """Where the huber loss becomes linear (PPO And Friends: 10)."""
    value_target: Literal["gae", "reward_to_go"] = "gae"
    """What values learn: advantages plus values (gae), or the discounted rewards to the segment's
    end, bootstrapped there (reward_to_go, PPO And Friends)."""
    bootstrap_clip: tuple[float, ...] = ()
    """Lowest and highest value that reward_to_go bootstraps with (PPO And Friends: -10 10); empty
    = no bounds."""
    bootstrap_clip_dynamic: bool = False
    """Whether these bounds are the smallest and the largest reward that the job has learned from
    so far; bootstrap_clip then holds in the first iteration only."""
    bootstrap_clip_schedule: str = "constant"
    """How the factor of both bounds goes on, from 1."""
    normalize_values: bool = False
    """Whether the value head learns targets that are normalized by the job's running mean and
    deviation of targets."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus, per nat."""
    entropy_coef_schedule: str = "constant"
    """How the entropy bonus goes on; linear ends at 0."""
    max_grad_norm: float = 0.5
    """Largest norm of the gradient; 0 = no clipping."""
    clip_gradients: Literal["whole", "parts"] = "whole"
    """Whether the gradient is clipped as a whole, or that of the values and that of the policy
    each by itself, which needs shared_torso=false (PPO And Friends)."""
    target_kl: float | None = None
    """Mean KL divergence of the job, in nats, after which the epochs of an iteration end."""
    kl_stop_factor: float = 1.0
    """Times target_kl: above that the epochs end (PPO And Friends: 1.5); without target_kl it has
    no effect."""
    normalize_advantages: Literal["rollout", "minibatch", "none"] = "rollout"
    """Over what advantages get mean 0 and deviation 1: the job's rollout, the job's minibatch
    (published baseline), or not at all."""
    reward_sign: bool = False
    """Whether only the sign of a reward is learned from (Atari); reported are rewards as they
    are."""
    normalize_rewards: bool = True
    """Whether rewards are divided by the running deviation of the discounted return."""
    reward_discount: float = 0.99
    """Discount of the return behind normalize_rewards (published: .99, not discount)."""
    reward_clip: float = 10.0
    """Normalized rewards are clipped to +- this."""
    reward_bounds: tuple[float, ...] = ()
    """Lowest and highest reward that is learned from, applied last; empty = no bounds."""
    normalize_observations: bool = False
    """Whether vectors are normalized per feature by the job's running mean and deviation."""
    clip_observations: bool = False
    """Whether vectors are clipped to +- observation_clip where they are not normalized."""
    observation_clip: float = 10.0
    """Observations are clipped to +- this, if they are normalized or clip_observations is on."""

    @property
    def optimizer_name(self) -> str:
        """What ``optimizer`` comes to."""
        if self.optimizer != "auto":
            return self.optimizer
        return OPTIMIZERS.get(self.algorithm, "adam")

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(1, rollout_timesteps=self.rollout_timesteps)
        at_least(1, num_epochs=self.num_epochs, num_minibatches=self.num_minibatches)
        at_least(0, microbatch_size=self.microbatch_size, max_segment_steps=self.max_segment_steps)
        at_least(0, sequence_steps=self.sequence_steps)
        at_least(0, entropy_coef=self.entropy_coef, max_grad_norm=self.max_grad_norm)
        at_least(0, final_learning_rate=self.final_learning_rate)
        within(0, 1, discount=self.discount, gae_lambda=self.gae_lambda)
        if not 0 <= self.rmsprop_alpha < 1:
            raise ConfigError(f"rmsprop_alpha={self.rmsprop_alpha} must be at least 0 and below 1")
        within(0, 1, reward_discount=self.reward_discount, soft_resets_from=self.soft_resets_from)
        positive(learning_rate=self.learning_rate, clip_range=self.clip_range)
        positive(reward_clip=self.reward_clip, observation_clip=self.observation_clip)
        positive(rmsprop_epsilon=self.rmsprop_epsilon)
        positive(huber_delta=self.huber_delta, kl_stop_factor=self.kl_stop_factor)
        if self.target_kl is not None:
            positive(target_kl=self.target_kl)
        if self.value_learning_rate is not None:
            positive(value_learning_rate=self.value_learning_rate)
        schedules(
            learning_rate_schedule=self.learning_rate_schedule,
            value_learning_rate_schedule=self.value_learning_rate_schedule or "constant",
            clip_range_schedule=self.clip_range_schedule,
            entropy_coef_schedule=self.entropy_coef_schedule,
            bootstrap_clip_schedule=self.bootstrap_clip_schedule,
        )
        ascending(self.soft_resets_from, 1, soft_resets_switches=self.soft_resets_switches)
        range_or_empty(bootstrap_clip=self.bootstrap_clip, reward_bounds=self.reward_bounds)
        if self.soft_resets_switches and self.soft_resets != "scheduled":
            raise ConfigError(
                f"soft_resets_switches={' '.join(map(str, self.soft_resets_switches))} switch "
                f"nothing with soft_resets={self.soft_resets}; use soft_resets=scheduled"
            )
        self._check_target()
        self._check_one_step()

    def without_effect(self) -> list[str]:
        """Return a sentence for each setting that nothing comes of beside the others.

        They are no errors, as runs that were begun with them have to go on.
        """
        several = self.algorithm not in ONE_STEP
        if several and self.target_kl is None and self.kl_stop_factor != 1.0:
            return [
                f"kl_stop_factor={self.kl_stop_factor:g} has no effect, as there is no target_kl "
                "to multiply; give one, such as target_kl=0.015, or leave kl_stop_factor out"
            ]
        return []

    def unread(self) -> list[tuple[tuple[str, ...], str]]:
        """Return names of settings that nothing reads beside the others, and what would."""
        found: list[tuple[tuple[str, ...], str]] = []
        if self.algorithm in ONE_STEP:  # what nothing has moved is not clipped, nor stopped
            found.append((_OF_SEVERAL_STEPS, "algorithm=ppo or ppg"))
        if self.optimizer_name != "rmsprop":
            found.append((("rmsprop_alpha", "rmsprop_epsilon"), "optimizer=rmsprop"))
        return found

    def _check_one_step(self) -> None:
        """Refuse further steps on a rollout where nothing corrects for the policy's change."""
        if self.algorithm not in ONE_STEP or self.num_epochs == self.num_minibatches == 1:
            return
        raise ConfigError(
            f"num_epochs={self.num_epochs} and num_minibatches={self.num_minibatches} with "
            f"algorithm={self.algorithm}, which takes one step on a rollout: nothing corrects for "
            "a policy that has changed since; use num_epochs=1 and num_minibatches=1, as the "
            f"presets of {self.algorithm} do, or algorithm=ppo"
        )

    def _check_target(self) -> None:
        """Refuse clips of what no target has."""
        clips = bool(self.bootstrap_clip) or self.bootstrap_clip_dynamic
        if clips and self.value_target != "reward_to_go":
            raise ConfigError(
                f"bootstrap_clip and bootstrap_clip_dynamic bound what reward_to_go bootstraps "
                f"with, and value_target={self.value_target}; use value_target=reward_to_go, or "
                "leave them out"
            )
        if self.bootstrap_clip_schedule != "constant" and not clips:
            raise ConfigError(
                f"bootstrap_clip_schedule={self.bootstrap_clip_schedule} has no bootstrap_clip to "
                "change; give one, or bootstrap_clip_dynamic=true"
            )
