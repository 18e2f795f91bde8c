"""The policy in its environments, without communication.

Axes: T steps; B environments on this rank; K noise numbers of an action; A action size; S numbers
that are remembered of an episode (0 if nothing is).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.episodes import EpisodeTracker
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.reproducible import Workers, outputs_and_memory
from ppo_mpi.learning.sequences import without_ended
from ppo_mpi.learning.transition import ALL, Place, Transition
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.distributions import draw_noise
from ppo_mpi.seeding import generator
from ppo_mpi.storage.logger import EpisodeRecord


class Actor:
    """Steps environments with the policy's samples and keeps account of the episodes."""

    def __init__(
        self,
        envs: VecEnvs,
        model: ActorCritic,
        seed: int,
        split: Literal["train", "test"],
        heart: Heart,
        normalizer: ObservationNormalizer | None,
        workers: Workers | None = None,
    ) -> None:
        """Begin nothing yet: the first rollout resets the environments.

        Args:
            envs: this rank's environments.
            model: policy and value.
            seed: the job's seed, for the action noise.
            split: ``"train"`` or ``"test"``: names the noise streams and the episodes.
            heart: of this rank; beats at every step.
            normalizer: of observation vectors, None for none.
            workers: threads that act for a fixed number of environments each, for the same bits
                on any number of ranks; None acts for all at once.
        """
        self._workers = workers
        self._heart = heart
        self.envs = envs
        self.model = model
        self.device = next(model.parameters()).device
        self.tracker = EpisodeTracker(envs.indices, split)
        self.normalizer = normalizer
        self.started = False
        self.episodes: list[EpisodeRecord] = []
        """Episodes that ended in the running rollout."""
        self.memory = torch.zeros(len(envs.indices), model.memory_size, device=self.device)
        """[B, S] what the policy remembers of the running episodes; 0 where one begins."""
        self.engine_seconds = 0.0
        """That this rank waited for the environments in this rollout."""
        self._seed = seed
        self._split = split
        self._noise = torch.empty(0)
        self._obs = torch.empty(0)
        self._iteration = self._step = 0
        self._restarts_before = 0

    @property
    def restarts(self) -> int:
        """How many environments were made anew in this rollout, because they had raised."""
        return self.envs.restarts - self._restarts_before

    def begin(self, iteration: int, steps: int, continue_episodes: bool) -> None:
        """Prepare a rollout: fresh episodes where asked for or needed, and the action noise.

        Args:
            iteration: counted from 0 over the whole job; part of the noise's key.
            steps: T.
            continue_episodes: whether episodes go on where the last rollout stopped.
        """
        self._iteration, self._step = iteration, 0
        self._restarts_before = self.envs.restarts
        self.engine_seconds = 0.0
        if self.started and continue_episodes:
            obs = self.envs.observe()
        else:
            began = time.monotonic()
            obs = self.envs.reset()
            self.engine_seconds += time.monotonic() - began
            self.tracker.forget(range(len(self.envs.indices)))
            self.memory.zero_()
            self.started = True
        self.arrive(obs)
        self.episodes = []
        spec = self.model.action_spec
        blocks = [
            draw_noise(generator(self._seed, f"{self._split}:actions", i, iteration), steps, spec)
            for i in self.envs.indices
        ]
        noise = np.stack(blocks, axis=1) if blocks else np.zeros((steps, 0, spec.noise_size))
        self._noise = torch.from_numpy(noise).to(self.device)

    def arrive(self, obs: np.ndarray) -> None:
        """Take the observations [B, ...] to act on next."""
        self._obs = self.prepare(obs)

    def normalized(
        self, obs: np.ndarray, slots: Sequence[int] | None = None, step: int | None = None
    ) -> np.ndarray:
        """Return what the model sees: normalized, if the run normalizes.

        Args:
            obs: [N, ...] as the environments show it.
            slots: whose they are; None for all slots in order.
            step: of the rollout that brought them, counted from 0; None for the present one.

        Raises:
            NonFiniteError: an observation is NaN or infinite.
        """
        numbers = self.envs.obs_spec.vectors(obs)
        finite = np.isfinite(numbers)
        if not finite.all():
            row = int(np.argwhere(~finite)[0, 0])
            slot = row if slots is None else slots[row]
            raise self.not_finite("an observation", slot, numbers[~finite][0], step)
        return obs if self.normalizer is None else self.normalizer.normalize(obs)

    def prepare(self, obs: np.ndarray, slots: Sequence[int] | None = None) -> Tensor:
        """Return what the model sees, on its device; arguments and errors of ``normalized``."""
        return torch.from_numpy(self.normalized(obs, slots)).to(self.device)

    def not_finite(
        self, what: str, slot: int, value: float, step: int | None = None
    ) -> NonFiniteError:
        """Return the error for a number that no learning can follow.

        Args:
            what: the quantity.
            slot: whose it is.
            value: NaN or infinite.
            step: of the rollout, counted from 0; None for the present one.
        """
        present = self._step if step is None else step
        return NonFiniteError(
            f"{what} of environment {self.envs.indices[slot]} is {float(value)} in step "
            f"{present + 1} of iteration {self._iteration + 1}; mend the environment, or lower "
            "learning_rate, and start the same command again: the run goes on from its last "
            "checkpoint"
        )

    @property
    def obs(self) -> Tensor:
        """[B, ...] the observation to act on next."""
        return self._obs

    @torch.no_grad()
    def values(self, obs: Tensor, memory: Tensor) -> Tensor:
        """Return V(obs), [N] float32, with memories [N, S]."""
        return self._outputs(obs, memory)[1]

    def _outputs(self, obs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs, values, after = outputs_and_memory(self.model, obs, memory, self._workers)
        return outputs, self.model.in_returns(values), after

    @torch.no_grad()
    def act(self, obs: Tensor, noise: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        """Return N actions, their log-probabilities [N], values [N] and memories [N, S] after them.

        The actions are those that are learned from; ``model.policy.for_suite`` makes of them what
        the environments take.

        Args:
            obs: [N, ...] as ``prepare`` gives them.
            noise: [N, K] float64, as ``draw_noise`` gives it.
            memory: [N, S] before.
        """
        outputs, values, after = self._outputs(obs, memory)
        distribution = self.model.distribution(outputs)
        actions = distribution.sample(noise)
        return actions, distribution.log_prob(actions), values, after

    def transitions(self, steps: int) -> Generator[tuple[Place, Transition]]:
        """Take ``steps`` steps in every environment, with the rollout's noise.

        Yields:
            where in [T, B] they belong, and transitions; their tensors are good until the next.

        Raises:
            IterationAbandonedError: a signal to stop came too long ago.
        """
        for t in range(steps):
            self._heart.beat("collecting")
            self._step = t
            STOP.check_grace()
            seen = None if self.normalizer is None else self.envs.observe()
            truths = self.envs.truths if self.model.heads else None
            obs, memory = self._obs, self.memory
            actions, log_probs, values, after = self.act(obs, self._noise[t], memory)
            taken = self.model.policy.for_suite(actions).cpu().numpy()
            began = time.monotonic()
            result = self.envs.step(taken)
            self.engine_seconds += time.monotonic() - began
            self.note(result)
            self.arrive(result.obs)
            self.memory = self.carried(after, result)
            yield (
                t,
                Transition(obs, actions, log_probs, values, result, seen, memory, after, truths),
            )

    def carried(self, memory: Tensor, result: StepResult) -> Tensor:
        """Return what goes on into the next step, [N, S]: nothing of an episode that has ended.

        A lost life is no end here: the game goes on, and so do its episodes in evaluations.
        """
        if not self.model.memory_size:
            return memory
        return without_ended(memory, result.terminated | result.truncated)

    def note(self, result: StepResult, slots: slice = ALL) -> None:
        """Keep account of a step of these slots."""
        self.episodes += self.tracker.add(result, self._iteration + 1, slots)  # logs count from 1

    def close(self) -> None:
        """Free the environments."""
        self.envs.close()

    def play(self, iteration: int, steps: int, continue_episodes: bool) -> None:
        """Take ``steps`` steps for the sake of their episodes only."""
        self.begin(iteration, steps, continue_episodes)
        if self.envs.indices:
            for _ in self.transitions(steps):
                pass
