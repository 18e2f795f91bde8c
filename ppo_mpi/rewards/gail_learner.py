"""The discriminator in the loop: its epochs on pairs of a policy's and an expert's steps.

Axes: T steps; B environments on this rank; N samples.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.experts import Expert
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.rollout import Rollout, minibatch_samples
from ppo_mpi.learning.update import epoch_means
from ppo_mpi.rewards.base import Transitions
from ppo_mpi.rewards.gail import Pairs
from ppo_mpi.rewards.learner import RewardLearner
from ppo_mpi.seeding import generator
from ppo_mpi.settings.imitation import ImitationConfig


class GailLearner(RewardLearner):
    """A reward learner whose model learns first, and from an expert as well.

    Each step of the policy in a minibatch has a partner, drawn among all of the expert's steps by
    its environment's own stream: the job's pairs are the same however environments are sharded.
    """

    learns_first = True
    expert: Expert
    imitation: ImitationConfig
    observation_normalizer: ObservationNormalizer | None = None
    _expert: tuple[Tensor, Tensor]
    _draws: tuple[Tensor, Tensor] | None = None

    def attach(
        self,
        expert: Expert,
        imitation: ImitationConfig,
        observation_normalizer: ObservationNormalizer | None,
    ) -> None:
        """Take what the discriminator learns from.

        Args:
            expert: the same on every rank.
            imitation: its numbers.
            observation_normalizer: the run's, through which the policy sees; None for none.
        """
        self.expert, self.imitation = expert, imitation
        self.observation_normalizer = observation_normalizer

    @property
    def steps_of_epoch(self) -> tuple[int, int]:
        """Return into how many minibatches a rollout is dealt, and how many of them are taken."""
        size = self.imitation.gail_batch_size
        dealt = max(1, self.learning.rollout_timesteps // size)
        return dealt, min(dealt, max(1, len(self.expert) // size))

    def learn(
        self, rollout: Rollout, iteration: int, learning_rate: float, comm: Communicator
    ) -> dict[str, float]:
        """Fit the discriminator to a rollout and the expert; return the last epoch's means.

        Collective.

        Args:
            rollout: this rank's.
            iteration: counted from 0.
            learning_rate: the policy's as it is now; a learning rate of its own is taken first.
            comm: the job.

        Raises:
            NonFiniteError: a loss or gradient is NaN or infinite.
        """
        own_rate = self.config.reward_learning_rate
        rate = learning_rate if own_rate is None else own_rate
        settings, steps = self.imitation, len(rollout.rewards)
        is_first = iteration < settings.gail_first_iterations
        self._expert = self._expert_now()
        dealt, taken = self.steps_of_epoch
        metrics = dict.fromkeys([*self.model.metrics, "gradient_norm"], float("nan"))
        for epoch in range(settings.gail_first_epochs if is_first else settings.gail_epochs):
            self._draws = self._draw(iteration, epoch, steps)
            minibatches = minibatch_samples(self.indices, steps, dealt, self.seed, iteration, epoch)
            rows = [
                self._step(rollout, own, rate, comm)  # collective
                for own in minibatches[:taken]
            ]
            metrics = epoch_means(self._numbers_of(rows, comm), iteration)
        self._draws = None
        return {f"reward_model_{name}": value for name, value in metrics.items()}

    def _expert_now(self) -> tuple[Tensor, Tensor]:
        """Return the expert's observations, as the policy would see them now, and actions."""
        obs = self.expert.obs
        if self.observation_normalizer is not None:
            obs = self.observation_normalizer.normalize(obs)
        actions = torch.from_numpy(self.expert.actions)
        return torch.from_numpy(obs).to(self.device), actions.to(self.device)

    def _draw(self, iteration: int, epoch: int, steps: int) -> tuple[Tensor, Tensor]:
        """Return each sample's partner [T * B] int64 and share of it [T * B] float32."""
        partners = np.empty((steps, len(self.indices)), np.int64)
        mixes = np.empty((steps, len(self.indices)), np.float32)
        for slot, index in enumerate(self.indices):
            random = generator(self.seed, "expert", iteration, epoch, index)
            partners[:, slot] = random.integers(len(self.expert), size=steps)
            mixes[:, slot] = random.random(steps, np.float32)
        both = (torch.from_numpy(own).flatten().to(self.device) for own in (partners, mixes))
        return next(both), next(both)

    def _known(self, rollout: Rollout) -> Tensor:
        """Return of which steps there is a reward, [T, B] bool: of all, whatever followed."""
        return torch.ones(rollout.rewards.shape, dtype=torch.bool)

    def _transitions(self, rollout: Rollout, samples: Tensor) -> Transitions:
        samples = samples.to(self.device)
        obs, actions = (x.flatten(0, 1)[samples] for x in (rollout.obs, rollout.actions))
        actions = self.for_suite(actions)
        if self._draws is None:
            return Transitions(obs, actions, obs)  # what followed is not looked at
        partners, mixes = self._draws
        expert_obs, expert_actions = (own[partners[samples]] for own in self._expert)
        return Pairs(obs, actions, obs, expert_obs, expert_actions, mixes[samples])
