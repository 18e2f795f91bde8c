"""The auxiliary phase of phasic policy gradient: what values know goes into the policy's torso.

Axes: T steps; B environments on this rank; R rollouts; N samples; A outputs of the policy head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.learning.adam import Adam
from ppo_mpi.learning.learner import Learner, gradients_for
from ppo_mpi.learning.losses import joint_loss
from ppo_mpi.learning.phase_rollouts import PhaseRollout, samples_of
from ppo_mpi.learning.reproducible import samples_by_environment
from ppo_mpi.learning.rollout import minibatch_samples, split
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.update import epoch_means
from ppo_mpi.networks.divergence import kl_divergence
from ppo_mpi.seeding import stream_seed
from ppo_mpi.settings.ppg import PpgConfig

STATISTICS = ("loss", "value_loss", "critic_loss", "clone_kl")
"""Of each optimizer step: all of it, the auxiliary head's error, the values' error, nats."""
METRICS = tuple(f"aux_{name}" for name in (*STATISTICS, "gradient_norm"))
"""What is logged; NaN in iterations that no auxiliary phase follows."""


class AuxiliaryLearner:
    """The policy's model with an optimizer of its own for auxiliary phases.

    Source:
        Cobbe et al. 2020, arXiv:2009.04416, section 2 and algorithm 1; the optimizer apart is that
        of the published code, openai/phasic-policy-gradient. There a minibatch is of whole
        segments, 256 steps of an environment each; here every environment gives it a share of
        single timesteps, so that it is the same on any number of ranks.
    """

    def __init__(self, learner: Learner, config: PpgConfig, indices: Sequence[int]) -> None:
        """Begin with an optimizer that has seen nothing.

        Args:
            learner: of the policy; its model, threads and size of microbatches are used.
            config: the phases' numbers.
            indices: whole-job indices of this rank's environments.
        """
        self.learner = learner
        self.model = learner.model
        self.config = config
        self.indices = tuple(indices)
        self.gradients, named, apart = gradients_for(
            self.model, STATISTICS, learner.config, learner.workers, learner.on_device
        )
        self.optimizer = Adam(named, learner.config.adam_epsilon, apart)
        self.device = named[0][1].device
        self._seed = stream_seed(learner.seed, "auxiliary phase")

    def learn(
        self,
        rollouts: Sequence[PhaseRollout],
        iteration: int,
        now: Scheduled,
        comm: Communicator,
    ) -> dict[str, float]:
        """Fit the model to all rollouts of a phase; return the last epoch's metrics. Collective.

        Args:
            rollouts: R of them, this rank's share.
            iteration: that ended the policy phase, counted from 0.
            now: what the schedules say.
            comm: the job.

        Returns:
            means over the job, by the names in ``METRICS``.

        Raises:
            IterationAbandonedError: a signal to stop came too long ago; on all ranks together.
            NonFiniteError: a loss or gradient is NaN or infinite.
        """
        self.gradients.attach()
        try:
            old_outputs = self._outputs(rollouts, comm)
            own = self.model.log_std
            old_log_std = None if own is None else own.detach().clone()
            steps = len(rollouts) * len(rollouts[0].targets)
            means: dict[str, float] = {}
            for epoch in range(self.config.aux_epochs):
                minibatches = minibatch_samples(
                    self.indices,
                    steps,
                    len(rollouts) * self.config.aux_minibatches,
                    self._seed,
                    iteration,
                    epoch,
                )
                loss = self._loss_of(rollouts, old_outputs, old_log_std)
                rows = [self._step(loss, own, now, comm) for own in minibatches]  # collective
                means = epoch_means(self._numbers_of(rows, comm), iteration)
        finally:
            self.learner.gradients.attach()
        return {f"aux_{name}": value for name, value in means.items()}

    def _outputs(self, rollouts: Sequence[PhaseRollout], comm: Communicator) -> Tensor:
        """Return what the policy head gives for all observations now, [R * T * B, A] float32."""
        num = sum(rollout.targets.numel() for rollout in rollouts)
        outputs = torch.zeros(num, self.model.policy_head.out_features)

        def evaluate(piece: Tensor) -> Tensor:
            obs, _ = samples_of(rollouts, piece)
            with torch.no_grad():  # gradient mode belongs to a thread
                return self.model.outputs(obs.to(self.device))[0].cpu()

        pieces = self._pieces(torch.arange(num))
        for piece, own in zip(pieces, self._map(evaluate, pieces), strict=True):
            comm.heart.beat("learning")
            outputs[piece] = own
        return outputs

    def _loss_of(
        self, rollouts: Sequence[PhaseRollout], old_outputs: Tensor, old_log_std: Tensor | None
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Return a function: positions [N] -> the loss [] and the statistics [S], summed."""
        model = self.model

        def loss(piece: Tensor) -> tuple[Tensor, Tensor]:
            obs, targets = (x.to(self.device) for x in samples_of(rollouts, piece))
            if model.value_scale is not None:
                targets = model.value_scale.normalized(targets)
            outputs, values, aux_values = model.auxiliary(obs)
            old = model.policy.distribution(old_outputs[piece].to(self.device), old_log_std)
            divergence = kl_divergence(old, model.distribution(outputs))
            losses, aux_errors, errors = joint_loss(
                values, aux_values, targets, divergence, self.config.clone_coef
            )
            terms = torch.stack([losses, aux_errors, errors, divergence])
            return losses.sum(), terms.detach().sum(1)

        return loss

    def _step(
        self,
        loss: Callable[[Tensor], tuple[Tensor, Tensor]],
        samples: Tensor,
        now: Scheduled,
        comm: Communicator,
    ) -> dict[str, Any]:
        """Take one optimizer step on positions [N] of the job's minibatch. Collective."""
        comm.heart.beat("learning")
        gradients = self.gradients
        gradients.zero()

        def term(piece: Tensor) -> tuple[Sequence[Tensor | None], Tensor, int]:
            total, sums = loss(piece)
            own = torch.autograd.grad(total, gradients.parameters, allow_unused=True)
            return own, sums, len(piece)

        for own, sums, num_samples in self._map(term, self._pieces(samples)):
            gradients.add_term(own, sums, num_samples)
        means = comm.average_gradients(gradients)  # collective
        means["gradient_norm"] = gradients.clip_norm(self.learner.config.max_grad_norm)
        if self.config.aux_learning_rate is not None:
            self.optimizer.step(self.config.aux_learning_rate)
        else:
            self.optimizer.step(now.learning_rate, now.value_learning_rate)
        return means

    def _numbers_of(self, rows: list[dict[str, Any]], comm: Communicator) -> list[dict[str, float]]:
        """Return the numbers of optimizer steps, once they are there."""
        # A GPU waits for the other ranks' by itself: one that hangs is not this one.
        comm.heart.waiting_for = self.gradients.awaited
        try:
            return self.gradients.read(rows)
        finally:
            comm.heart.waiting_for = ""

    def _pieces(self, samples: Tensor) -> list[Tensor]:
        """Split samples [N] into what goes through the model at once; none is empty."""
        workers, size = self.learner.workers, self.learner.microbatch_size
        if workers is not None and workers.exact:
            return samples_by_environment(samples, len(self.indices), size)
        return split(samples, size)

    def _map(self, function: Any, pieces: Sequence[Tensor]) -> Iterator[Any]:
        workers = self.learner.workers
        return map(function, pieces) if workers is None else workers.map(function, pieces)
