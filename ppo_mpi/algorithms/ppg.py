"""Phasic policy gradient: PPO with values that train the policy's torso in phases of their own.

Axes: T steps; B environments on this rank; N samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ppo_mpi.algorithms.ppo import PPO, ppo_loss, ppo_terms
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.learning.algorithm import Algorithm
from ppo_mpi.learning.auxiliary_phase import METRICS, AuxiliaryLearner
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.losses import ClipRange, value_loss
from ppo_mpi.learning.phase_rollouts import (
    PhaseRollout,
    kept,
    phase_key,
    phase_rollouts,
    timestep_bytes,
)
from ppo_mpi.learning.rollout import Batch, Minibatch
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.update import update
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.seeding import stream_seed
from ppo_mpi.settings.learning import LearningConfig


def value_epoch_loss(
    model: ActorCritic,
    minibatch: Minibatch,
    config: LearningConfig,
    clip_range: ClipRange,
    entropy_coef: float | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the values' part of PPO's loss alone, and what ``ppo_loss`` measures beside it.

    Args:
        model: policy and value; the policy's head gets no gradient.
        minibatch: N samples.
        config: the coefficients.
        clip_range: the clip as its schedule has it now.
        entropy_coef: likewise; None takes the config's.

    Returns:
        the loss [] float32 and the sums of the metrics named in ``PPO``, [6] float32.
    """
    distribution, values = model(minibatch.obs)
    log_probs = distribution.log_prob(minibatch.actions)
    _, sums = ppo_terms(
        distribution, log_probs, values, minibatch, config, clip_range, entropy_coef
    )
    losses = value_loss(
        values,
        minibatch.old_values,
        minibatch.returns,
        clip_range if config.clip_values else None,
        config.value_loss,
        config.huber_delta,
    )
    return config.value_coef * losses.sum(), sums


PPG = Algorithm(loss=ppo_loss, metrics=PPO.metrics)
"""The policy phase is PPO. Where values leave the torso alone is known to the model and to
autograd; PPO's gradients by hand are of another loss."""
VALUE_EPOCHS = Algorithm(loss=value_epoch_loss, metrics=PPO.metrics)


def has_value_epochs(config: TrainConfig) -> bool:
    """Return whether values have passes over a rollout of their own, before the policy's."""
    own = config.ppg.value_epochs
    return config.is_phasic and own not in (0, config.learning.num_epochs)


def policy_learning(config: TrainConfig) -> LearningConfig:
    """Return the numbers by which a rollout's epochs learn, without those of the values alone."""
    if not has_value_epochs(config):
        return config.learning
    return replace(config.learning, value_coef=0.0)


def optimizers_beside(config: TrainConfig) -> list[str]:
    """Return the file stems of the optimizers that a checkpoint holds beside the policy's."""
    return ["aux_optimizer"] * config.is_phasic + ["value_optimizer"] * has_value_epochs(config)


def phase_bytes(config: TrainConfig, spec: ObservationSpec) -> int:
    """Return the size of a full phase's rollouts over the whole job; 0 if none are kept."""
    if not config.is_phasic or not config.ppg.aux_epochs:
        return 0
    timesteps = config.ppg.policy_iterations * config.learning.rollout_timesteps
    return timesteps * timestep_bytes(spec)


def is_phase_saved(config: TrainConfig, spec: ObservationSpec) -> bool:
    """Return whether checkpoints hold the rollouts of a phase that is under way."""
    return 0 < phase_bytes(config, spec) <= config.ppg.saved_phase_mebibytes * 2**20


class PhasicLearner:
    """What phasic policy gradient has beside the policy's epochs: its phases.

    Source:
        Cobbe et al. 2020, arXiv:2009.04416, algorithm 1.
    """

    def __init__(self, config: TrainConfig, learner: Learner, indices: Sequence[int]) -> None:
        """Begin a policy phase.

        Args:
            config: the job's.
            learner: of the policy; its model, threads and size of microbatches are used.
            indices: whole-job indices of this rank's environments.
        """
        self.learner = learner
        self.indices = tuple(indices)
        self.policy_iterations = config.ppg.policy_iterations
        self.rollouts: tuple[PhaseRollout, ...] = ()
        """This rank's share of the phase so far; another tuple after each iteration."""
        self.forgotten = 0
        """Rollouts of the phase under way that a checkpoint did not hold: it began afresh."""
        self.is_saved = is_phase_saved(config, learner.model.obs_spec)
        self._steps = config.rollout_steps
        self.keeps_rollouts = config.ppg.aux_epochs > 0
        """Whether there are auxiliary phases at all."""
        self.auxiliary = AuxiliaryLearner(learner, config.ppg, indices)
        self.values: Learner | None = None
        if has_value_epochs(config):
            own = replace(config.learning, num_epochs=config.ppg.value_epochs, target_kl=None)
            seed = stream_seed(learner.seed, "value epochs")
            self.values = Learner(
                learner.model, VALUE_EPOCHS, own, seed, learner.workers, learner.on_device
            )
            self.values.microbatch_size = learner.microbatch_size
        learner.gradients.attach()

    @property
    def ends_phase(self) -> bool:
        """Whether an auxiliary phase is part of the next iteration."""
        return self.keeps_rollouts and len(self.rollouts) + 1 >= self.policy_iterations

    def learn_values(
        self, batch: Batch, iteration: int, now: Scheduled, comm: Communicator
    ) -> float:
        """Take the values' own epochs; return how many optimizer steps they were. Collective.

        Args:
            batch: this rank's share, [T, B].
            iteration: counted from 0.
            now: what the schedules say.
            comm: the job.

        Raises:
            NonFiniteError: a loss or gradient is NaN or infinite.
        """
        if self.values is None:
            return 0.0
        self.values.gradients.attach()
        try:
            metrics = update(self.values, batch, self.indices, iteration, now, comm)  # collective
        finally:
            self.learner.gradients.attach()
        return metrics["optimizer_steps"]

    def after_update(
        self, batch: Batch, iteration: int, now: Scheduled, comm: Communicator
    ) -> dict[str, float]:
        """Keep the rollout; at the end of a policy phase, take the auxiliary one. Collective.

        Args:
            batch: what the policy has learned from, this rank's share.
            iteration: counted from 0.
            now: what the schedules say.
            comm: the job.

        Returns:
            the auxiliary phase's metrics, NaN if there was none, and how many rollouts are kept.

        Raises:
            IterationAbandonedError: a signal to stop came too long ago; on all ranks together.
            NonFiniteError: a loss or gradient is NaN or infinite.
        """
        metrics = dict.fromkeys(METRICS, math.nan)
        if self.keeps_rollouts:
            ends_phase = self.ends_phase
            targets = self.learner.model.in_returns(batch.returns)
            self.rollouts = (*self.rollouts, kept(batch.rollout.obs, targets))
            if ends_phase:
                metrics = self.auxiliary.learn(self.rollouts, iteration, now, comm)  # collective
                self.rollouts = ()
        return metrics | {"phase_rollouts": float(len(self.rollouts))}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the optimizers' tensors for a checkpoint: file stem -> name -> tensor."""
        own = {"aux_optimizer": self.auxiliary.optimizer.tensors()}
        if self.values is not None:
            own["value_optimizer"] = self.values.optimizer.tensors()
        return own

    def load(
        self,
        tensors: Mapping[str, Mapping[str, Tensor]],
        states: Mapping[str, bytes],
        count: int,
        num_envs: int,
    ) -> None:
        """Put back what a checkpoint holds. A phase that it does not hold begins afresh.

        Args:
            tensors: file stem -> name -> tensor.
            states: the states of the job's environments and of what they gave to the phase.
            count: how many rollouts the phase had.
            num_envs: of the whole job.

        Raises:
            KeyError: an optimizer's tensors are missing.
        """
        self.auxiliary.optimizer.load_tensors(tensors["aux_optimizer"])
        if self.values is not None:
            self.values.optimizer.load_tensors(tensors["value_optimizer"])
        is_whole = all(phase_key(index) in states for index in range(num_envs))
        self.forgotten = 0 if is_whole else count
        if is_whole:
            spec = self.learner.model.obs_spec
            self.rollouts = phase_rollouts(states, self.indices, count, self._steps, spec)


def make_phasic_learner(
    config: TrainConfig, learner: Learner, indices: Sequence[int]
) -> PhasicLearner | None:
    """Make what phasic policy gradient has beside its epochs; None for other algorithms."""
    return PhasicLearner(config, learner, indices) if config.is_phasic else None
