"""Behavior cloning: before the first iteration, the policy learns to do as an expert did.

Axes: N samples; S numbers that a recurrent policy remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.learning.adam import Adam
from ppo_mpi.learning.experts import Expert
from ppo_mpi.learning.learner import Learner, gradients_for
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.update import epoch_means
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.seeding import generator
from ppo_mpi.settings.imitation import ImitationConfig

PIECE = 16
"""Samples that go through the network at once. Whoever takes a piece, it is the same one, so that
the number of ranks cannot be seen in the result."""


@dataclass(frozen=True)
class Cloned:
    """What came of an epoch of cloning."""

    epoch: int
    """Counted from 1."""
    loss: float
    """Mean -log pi(a|s) over what was cloned, nats, while it was learned."""
    held_out: float
    """The same over the episodes that were held out, behind the epoch; NaN if none were."""


def begin_normalizer(
    normalizer: ObservationNormalizer | None, expert: Expert, obs: np.ndarray, comm: Communicator
) -> None:
    """Let the statistics of observations begin with the expert's. Collective.

    Args:
        normalizer: changed in place, unless it only clips; None for none.
        expert: whose observations count, each once.
        obs: [N, F] the numbers among them that are normalized.
        comm: the job.
    """
    if normalizer is None or normalizer.only_clips:
        return
    wide = obs.astype(np.float64)
    # Rank 0's, as other machines may round otherwise.
    moments = comm.broadcast_object((wide.mean(0), wide.var(0)))  # collective
    normalizer.moments.merge(float(len(expert)), *moments)


def clone(
    learner: Learner,
    expert: Expert,
    config: ImitationConfig,
    normalizer: ObservationNormalizer | None,
    tell: Callable[[Cloned], None],
    comm: Communicator,
) -> None:
    """Let the policy maximize the likelihood of the expert's actions. Collective.

    Values are not learned. A signal to stop ends it after the running epoch.

    Args:
        learner: its model is changed in place; its own optimizer is not.
        expert: the same on every rank.
        config: the numbers.
        normalizer: of observation vectors; begins with the expert's statistics. None for none.
        tell: is given what came of each epoch.
        comm: the job.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite.
    """
    vectors = learner.model.obs_spec.vectors(expert.obs)
    begin_normalizer(normalizer, expert, vectors, comm)  # collective
    cloner = _Cloner(learner, expert, config, normalizer)
    try:
        for epoch in range(config.cloning_epochs):
            if comm.any(STOP.requested):  # collective
                break
            loss = cloner.learn(epoch, comm)  # collective
            held_out = cloner.measure(comm)  # collective
            tell(Cloned(epoch + 1, loss, held_out))
    finally:
        learner.gradients.attach()


class _Cloner:
    """Gradients and an Adam of cloning's own, and the expert's steps as the policy sees them."""

    def __init__(
        self,
        learner: Learner,
        expert: Expert,
        config: ImitationConfig,
        normalizer: ObservationNormalizer | None,
    ) -> None:
        self.learner, self.config, self.model = learner, config, learner.model
        self.gradients, named, _ = gradients_for(
            self.model, ("loss",), learner.config, learner.workers, learner.on_device
        )
        self.optimizer = Adam(named, learner.config.adam_epsilon)
        self.device = named[0][1].device
        obs = expert.obs if normalizer is None else normalizer.normalize(expert.obs)
        self.obs = torch.from_numpy(obs).to(self.device)
        actions = torch.from_numpy(expert.actions).to(self.device)
        self.actions = self.model.policy.from_suite(actions)
        self.by_episode = self.model.memory_size > 0
        episodes = [
            torch.arange(*pair) for pair in zip(expert.bounds, expert.bounds[1:], strict=False)
        ]
        num = 0
        if config.cloning_held_out and len(episodes) > 1:
            num = max(1, round(config.cloning_held_out * len(episodes)))
            num = min(num, len(episodes) - 1)  # something is learned from
        order = generator(learner.seed, "cloning held out").permutation(len(episodes))
        self.held_out = [episodes[k] for k in sorted(order[:num])]
        self.cloned = [episodes[k] for k in sorted(order[num:])]

    def learn(self, epoch: int, comm: Communicator) -> float:
        """Take one pass over what is cloned; return its mean loss. Collective."""
        rows = []
        for pieces in self._minibatches(epoch):
            comm.heart.beat("learning")
            self.gradients.zero()
            for own, sums, num in self._map(self._term, pieces[comm.rank :: comm.world_size]):
                self.gradients.add_term(own, sums, num)
            rows.append(comm.average_gradients(self.gradients))  # collective
            if self.config.cloning_deviations == "kept" and self.model.log_std is not None:
                assert self.model.log_std.grad is not None, "gradients are views of the buffer"
                self.model.log_std.grad.zero_()
            self.optimizer.step(self.config.cloning_learning_rate)
        return epoch_means(self.gradients.read(rows), 0)["loss"]

    def measure(self, comm: Communicator) -> float:
        """Return the mean loss of what is held out; NaN if nothing is. Collective."""
        pieces = self._pieces(self.held_out)
        losses = [
            own.double().cpu()
            for own in self._map(self._measured, pieces[comm.rank :: comm.world_size])
        ]
        own = torch.cat(losses).numpy() if losses else np.empty(0)
        total = float(comm.exact_sum(own))  # collective
        return total / sum(map(len, pieces)) if pieces else float("nan")

    def _minibatches(self, epoch: int) -> Iterator[list[Tensor]]:
        """Yield the pieces of each of the job's minibatches."""
        random, size = (
            generator(self.learner.seed, "cloning", epoch),
            self.config.cloning_batch_size,
        )
        if not self.by_episode:
            rows = torch.cat(self.cloned)
            rows = rows[torch.from_numpy(random.permutation(len(rows)))]
            for own in rows.tensor_split(max(1, len(rows) // size)):
                yield list(own.split(PIECE))
            return
        waiting: list[Tensor] = []
        for k in random.permutation(len(self.cloned)):
            waiting.append(self.cloned[k])
            if sum(map(len, waiting)) >= size:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _pieces(self, episodes: Sequence[Tensor]) -> list[Tensor]:
        if self.by_episode or not episodes:
            return list(episodes)
        return list(torch.cat(list(episodes)).split(PIECE))

    def _losses(self, piece: Tensor) -> Tensor:
        """Return -log pi(a|s), [N] float32: of a whole episode for a policy that remembers."""
        samples = piece.to(self.device)
        sequences = None
        if self.by_episode:
            memory = torch.zeros(1, self.model.memory_size, device=self.device)
            sequences = Sequences(memory, torch.ones(len(piece), dtype=torch.int64))
        distribution, _ = self.model(self.obs[samples], sequences)
        log_probs: Tensor = distribution.log_prob(self.actions[samples])
        return -log_probs

    def _term(self, piece: Tensor) -> tuple[Sequence[Tensor | None], Tensor, int]:
        loss = self._losses(piece).sum()
        own = torch.autograd.grad(loss, self.gradients.parameters, allow_unused=True)
        return own, loss.detach()[None], len(piece)

    def _measured(self, piece: Tensor) -> Tensor:
        with torch.no_grad():  # gradient mode belongs to a thread
            return self._losses(piece)

    def _map(self, function: Callable, pieces: Sequence[Tensor]) -> Iterator:
        workers = self.learner.workers
        return map(function, pieces) if workers is None else workers.map(function, pieces)
