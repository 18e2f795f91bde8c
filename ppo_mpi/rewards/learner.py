"""A reward model in the loop: its rewards of a rollout, and its epochs of learning.

Axes: T steps; B environments on this rank; N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.device_gradients import DeviceGradients
from ppo_mpi.distributed.gradients import ExactGradients, FlatGradients
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.adam import Adam
from ppo_mpi.learning.normalizers import RewardNormalizer, RunningMoments
from ppo_mpi.learning.reproducible import Workers, samples_by_environment
from ppo_mpi.learning.rollout import Rollout, minibatch_samples, split
from ppo_mpi.learning.update import epoch_means
from ppo_mpi.rewards.base import RewardModel, Transitions
from ppo_mpi.seeding import generator
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.rewards import RewardsConfig


class RewardLearner:
    """A reward model, its optimizer, and the intrinsic returns of the running episodes."""

    learns_first = False
    """Whether the model learns from a rollout before it gives its rewards."""

    def __init__(
        self,
        model: RewardModel,
        indices: Sequence[int],
        config: RewardsConfig,
        learning: LearningConfig,
        seed: int,
        workers: Workers | None = None,
        microbatch_size: int = 0,
        on_device: bool = False,
        for_suite: Callable[[Tensor], Tensor] = lambda actions: actions,
    ) -> None:
        """Put them together.

        Args:
            model: what gives the rewards; the same on every rank.
            indices: whole-job indices of this rank's environments.
            config: the reward model's numbers.
            learning: the policy's, of which it takes minibatches and epochs.
            seed: the job's.
            workers: the policy's threads; exact ones take one environment's samples at a time.
            microbatch_size: samples that go through the model at once; 0 = all.
            on_device: whether an epoch's numbers stay where the model is until its end.
            for_suite: what the environments were given for actions as they are stored.
        """
        self.model = model
        self.for_suite = for_suite
        self.indices = tuple(indices)
        self.config, self.learning = config, learning
        self.seed = seed
        self.workers = workers
        self.microbatch_size = microbatch_size
        kind: type[FlatGradients] = DeviceGradients if on_device else FlatGradients
        if workers is not None and workers.exact:
            kind = ExactGradients
        self.gradients = kind(model, model.metrics)
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.optimizer = Adam(named, learning.adam_epsilon)
        self.device = named[0][1].device
        self.normalizer = None
        if model.is_normalized(config):
            self.normalizer = RewardNormalizer(
                len(self.indices), config.intrinsic_discount, float("inf")
            )
        self.returns = np.zeros(len(self.indices))
        """[B] intrinsic returns of the running episodes so far, undiscounted."""

    def rewards(
        self, rollout: Rollout, continue_episodes: bool, comm: Communicator
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Give rewards for a rollout, by the model as it is. Collective.

        Args:
            rollout: this rank's, with what followed.
            continue_episodes: whether it went on with the episodes of the rollout before.
            comm: the job.

        Returns:
            [T, B] float32, normalized if the run does so, 0 where it is not known what followed;
            and metrics of the job.

        Raises:
            NonFiniteError: a reward is NaN or infinite.
        """
        self.model.observe(rollout.obs, comm)  # collective
        assert rollout.following is not None, "the collector keeps what followed"
        known = self._known(rollout)
        samples = known.flatten().nonzero()[:, 0]
        pieces = self._pieces(samples)
        rewards = torch.zeros(known.numel())
        for piece, own in zip(pieces, self._map(self._rewards_of(rollout), pieces), strict=True):
            comm.heart.beat("learning")
            rewards[piece] = own.cpu()
        if not rewards.isfinite().all():
            raise NonFiniteError(
                f"a reward of the reward model is not finite in iteration {comm.heart.iteration}; "
                "lower reward_learning_rate or set reward_max_grad_norm, and start the same "
                "command again: the run goes on from its last checkpoint"
            )
        given = rewards.view(known.shape).numpy()
        if self.normalizer is not None:
            never = np.zeros(given.shape, bool)  # this return goes on over the ends of episodes
            given = self.normalizer(given, never, comm)  # collective
        if not continue_episodes:
            self.returns[:] = 0.0
        ends = rollout.following.ended, rollout.following.reported
        returns = self._finished(given, *(own.numpy() for own in ends))
        numbers = [given[known.numpy()].astype(np.float64), returns]
        counts = comm.sum(np.array([len(x) for x in numbers]))  # collective
        sums = [float(comm.exact_sum(x)) for x in numbers]  # collective
        names = ("intrinsic_reward_mean", "intrinsic_return_mean")
        means = [
            total / count if count else np.nan for total, count in zip(sums, counts, strict=True)
        ]
        return given, dict(zip(names, map(float, means), strict=True))

    def learn(
        self, rollout: Rollout, iteration: int, learning_rate: float, comm: Communicator
    ) -> dict[str, float]:
        """Fit the model to a rollout; return the last epoch's metrics, means over the job.

        Collective. The minibatches are those of the policy's epochs, without the samples whose
        next observation is not known.

        Args:
            rollout: this rank's, with what followed.
            iteration: counted from 0.
            learning_rate: the policy's as it is now; a learning rate of its own is taken first.
            comm: the job.

        Raises:
            NonFiniteError: a loss or gradient is NaN or infinite.
        """
        own_rate = self.config.reward_learning_rate
        rate = learning_rate if own_rate is None else own_rate
        steps = len(rollout.rewards)
        metrics = dict.fromkeys([*self.model.metrics, "gradient_norm"], float("nan"))
        for epoch in range(self.config.reward_epochs or self.learning.num_epochs):
            kept = self._kept(rollout, iteration, epoch)
            minibatches = [
                own[kept[own]]
                for own in minibatch_samples(
                    self.indices, steps, self.learning.num_minibatches, self.seed, iteration, epoch
                )
            ]
            counts = comm.sum(np.array([len(own) for own in minibatches]))  # collective
            # Of a minibatch in which nothing is known on any rank there is nothing to learn.
            rows = [
                self._step(rollout, own, rate, comm)  # collective
                for own, count in zip(minibatches, counts.tolist(), strict=True)
                if count
            ]
            if rows:
                metrics = epoch_means(self._numbers_of(rows, comm), iteration)
        return {f"reward_model_{name}": value for name, value in metrics.items()}

    def _step(
        self, rollout: Rollout, samples: Tensor, learning_rate: float, comm: Communicator
    ) -> dict[str, Any]:
        """Take one optimizer step on samples [N] int64 of the job's minibatch. Collective."""
        comm.heart.beat("learning")
        gradients = self.gradients
        gradients.zero()

        def term(piece: Tensor) -> tuple[Sequence[Tensor | None], Tensor, int]:
            loss, sums = self.model.loss(self._transitions(rollout, piece))
            own = torch.autograd.grad(loss, gradients.parameters, allow_unused=True)
            return own, sums, len(piece)

        for own, sums, num_samples in self._map(term, self._pieces(samples)):
            gradients.add_term(own, sums, num_samples)
        means = comm.average_gradients(gradients)  # collective
        means["gradient_norm"] = gradients.clip_norm(self.config.reward_max_grad_norm)
        self.optimizer.step(learning_rate)
        return means

    def _numbers_of(self, rows: list[dict[str, Any]], comm: Communicator) -> list[dict[str, float]]:
        """Return the numbers of optimizer steps, once they are there."""
        # A GPU waits for the other ranks' by itself: one that hangs is not this one.
        comm.heart.waiting_for = self.gradients.awaited
        try:
            return self.gradients.read(rows)
        finally:
            comm.heart.waiting_for = ""

    def _known(self, rollout: Rollout) -> Tensor:
        """Return of which steps there is a reward, [T, B] bool."""
        assert rollout.following is not None, "the collector keeps what followed"
        return rollout.following.known

    def _kept(self, rollout: Rollout, iteration: int, epoch: int) -> Tensor:
        """Return of which samples the model learns in this epoch, [T * B] bool."""
        assert rollout.following is not None, "the collector keeps what followed"
        known = rollout.following.known
        proportion = self.model.update_proportion
        if proportion < 1:
            draws = [
                generator(self.seed, "reward model", iteration, epoch, i).random(len(known))
                for i in self.indices
            ]
            known = known & torch.from_numpy(np.stack(draws, axis=1) < proportion)
        return known.flatten()

    def _pieces(self, samples: Tensor) -> list[Tensor]:
        """Split samples [N] into what goes through the model at once; none is empty."""
        if self.workers is not None and self.workers.exact:
            return samples_by_environment(samples, len(self.indices), self.microbatch_size)
        return split(samples, self.microbatch_size)

    def _map(self, function: Any, pieces: Sequence[Tensor]) -> Iterator[Any]:
        return map(function, pieces) if self.workers is None else self.workers.map(function, pieces)

    def _rewards_of(self, rollout: Rollout) -> Any:
        def rewards(piece: Tensor) -> Tensor:
            with torch.no_grad():  # gradient mode belongs to a thread
                return self.model.rewards(self._transitions(rollout, piece))

        return rewards

    def _transitions(self, rollout: Rollout, samples: Tensor) -> Transitions:
        assert rollout.following is not None, "the collector keeps what followed"
        samples = samples.to(self.device)
        obs, actions = (x.flatten(0, 1)[samples] for x in (rollout.obs, rollout.actions))
        return Transitions(obs, self.for_suite(actions), rollout.following.take(samples))

    def _finished(self, rewards: np.ndarray, ended: np.ndarray, reported: np.ndarray) -> np.ndarray:
        """Add rewards [T, B] up; return the returns of the episodes that are reported, float64."""
        finished = []
        for reward, over, counts in zip(rewards, ended, reported, strict=True):
            self.returns += reward
            finished.append(self.returns[counts])
            self.returns[over] = 0.0
        return np.concatenate(finished)

    def moments(self) -> dict[str, RunningMoments]:
        """Return all running statistics by name, for a checkpoint."""
        own = {} if self.normalizer is None else {"intrinsic": self.normalizer.moments}
        return self.model.moments() | own

    def entries(self) -> dict[str, list[float]]:
        """Return whole-job index -> [intrinsic return so far, return behind the normalizer]."""
        running = (
            np.zeros(len(self.indices)) if self.normalizer is None else self.normalizer.returns
        )
        pairs = np.stack([self.returns, running], axis=1).tolist()
        return {str(index): pair for index, pair in zip(self.indices, pairs, strict=True)}

    def load_entries(self, entries: dict[str, list[float]], fresh: Sequence[int]) -> None:
        """Put back the entries of this rank's environments; those in fresh slots begin anew."""
        pairs = np.array([entries[str(index)] for index in self.indices]).reshape(-1, 2)
        pairs[list(fresh)] = 0.0
        self.returns = pairs[:, 0].copy()
        if self.normalizer is not None:
            self.normalizer.returns = pairs[:, 1].copy()
