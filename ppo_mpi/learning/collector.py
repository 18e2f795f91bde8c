"""One rank's share of a rollout, collected without communication.

Axes: T steps; B environments on this rank; K noise numbers of an action; A action size; S numbers
that are remembered of an episode (0 if nothing is).
"""

from __future__ import annotations

from contextlib import closing

import numpy as np
import torch

from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.following import Following, following
from ppo_mpi.learning.rollout import Rollout
from ppo_mpi.learning.sequences import MemoryKeeper
from ppo_mpi.learning.truths import ToldKeeper


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
