"""The policy in its environments: one rank's share of a rollout, without communication.

Axes: T steps; B environments on this rank; K noise numbers of an action; A action size; S numbers
that are remembered of an episode (0 if nothing is).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.episodes import EpisodeTracker
from ppo_mpi.learning.following import Following, following
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.reproducible import Workers, outputs_and_memory
from ppo_mpi.learning.rollout import Rollout
from ppo_mpi.learning.sequences import MemoryKeeper, without_ended
from ppo_mpi.learning.transition import ALL, Place, Transition
from ppo_mpi.learning.truths import ToldKeeper
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


class Collector:
    """Fills one rollout after the other, in the same memory."""

    def __init__(
        self, actor: Actor, rollout_steps: int, keeps_following: bool = False,
        sequence_steps: int = 0,
    ) -> None:  # fmt: skip
        self.actor = actor
        self.keeper = None
        if actor.model.memory_size:
            self.keeper = MemoryKeeper(rollout_steps, actor.memory, sequence_steps)
        self.keeps_following = keeps_following
        spec, action_spec = actor.envs.obs_spec, actor.model.action_spec
        shape = (rollout_steps, len(actor.envs.indices))
        device = actor.device
        self.told = ToldKeeper(shape, actor.model.heads, device)
        dtype = torch.uint8 if spec.dtype == "uint8" else torch.float32
        self.obs = torch.zeros(*shape, *spec.shape, dtype=dtype, device=device)
        kind = getattr(torch, action_spec.dtype)
        self.actions = torch.zeros(*shape, *action_spec.action_shape, dtype=kind, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.next_values = torch.zeros(shape, device=device)
        self.rewards = np.zeros(shape, np.float32)
        self.terminated = np.zeros(shape, bool)
        self.truncated = np.zeros(shape, bool)
        self.ended = np.zeros(shape, bool)
        """[T, B], where episodes did: not where only a life was lost."""
        self.dropped: list[tuple[int, int]] = []
        """Step and slot of ends behind which an environment was made anew, as it had raised."""

    def collect(self, iteration: int, continue_episodes: bool) -> Rollout:
        """Take T steps in each environment.

        Args:
            iteration: counted from 0 over the whole job.
            continue_episodes: soft reset (True) or fresh episodes (False).

        Raises:
            NonFiniteError: an observation, a reward or a value is NaN or infinite.
        """
        actor, steps = self.actor, len(self.rewards)
        actor.begin(iteration, steps, continue_episodes)
        if self.keeper is not None:
            self.keeper.begin()
        final: list[tuple[int, int, np.ndarray]] = []
        last: list[tuple[int, int, np.ndarray]] = []
        self.dropped = []
        with closing(actor.transitions(steps)) as transitions:
            for place, transition in transitions:
                if actor.normalizer is not None and transition.seen is not None:
                    actor.normalizer.see(transition.seen)
                result = transition.result
                self.obs[place] = transition.obs
                self.actions[place] = transition.actions
                self.log_probs[place] = transition.log_probs
                self.values[place] = transition.values
                self.told.note(place, transition)
                self.rewards[place] = result.rewards
                self.terminated[place] = result.learned_terminated
                self.truncated[place] = result.learned_truncated
                self.ended[place] = result.terminated | result.truncated
                t = place if isinstance(place, int) else place[0]
                final += [(t, slot, obs) for slot, obs in result.final_obs.items()]
                self.dropped += [(t, slot) for slot in result.dropped]
                if self.keeper is not None:
                    self.keeper.note(place, transition)
                if self.keeps_following:  # behind what was made anew nothing is known
                    ends = {**result.final_obs, **result.last_obs}.items()
                    last += [(t, slot, obs) for slot, obs in ends if slot not in result.dropped]
        self._bootstrap(final)
        self._check_finite()
        return Rollout(
            self.obs, self.actions, self.log_probs, self.values, self.next_values,
            self.rewards, self.terminated, self.truncated,
            self._following(last) if self.keeps_following else None,
            self.keeper.of_rollout(self.ended) if self.keeper is not None else None,
            self.told.truths, self.told.bonus,
        )  # fmt: skip

    def _following(self, last: list[tuple[int, int, np.ndarray]]) -> Following:
        actor = self.actor
        obs = actor.obs[:0]
        if last:
            raw = np.stack([obs for _, _, obs in last])
            obs = actor.prepare(raw, [slot for _, slot, _ in last])
        ended = torch.from_numpy(self.ended)
        return following(self.obs, actor.obs, ended, [end[:2] for end in last], obs, self.dropped)

    def _bootstrap(self, final: list[tuple[int, int, np.ndarray]]) -> None:
        """Set next_values: of the next step, or of the true last observation if cut short."""
        actor = self.actor
        self.next_values[:-1] = self.values[1:]
        self.next_values[-1] = actor.values(actor.obs, actor.memory)
        if final:
            steps, slots = [t for t, _, _ in final], [slot for _, slot, _ in final]
            obs = actor.prepare(np.stack([obs for _, _, obs in final]), slots)
            memory = actor.memory[slots] if self.keeper is None else self.keeper.at_ends()
            self.next_values[steps, slots] = actor.values(obs, memory)

    def _check_finite(self) -> None:
        for what, numbers in (("a reward", self.rewards), ("a value", self.values.cpu().numpy())):
            finite = np.isfinite(numbers)
            if not finite.all():
                step, slot = map(int, np.argwhere(~finite)[0])
                raise self.actor.not_finite(what, slot, numbers[step, slot], step)
