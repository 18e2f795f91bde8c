"""Playing whole episodes of an evaluation on one rank, each with random streams of its own.

Axes: B environments on this rank; n of them in which somebody still plays; K columns of an action;
S numbers that the policy remembers of an episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ppo_mpi.agent import Agent
from ppo_mpi.distributed.heart import EVALUATING, Heart
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.envs.base import ObservationSpec, StepResult, VecEnvs
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.modes.evaluation_plan import env_indices
from ppo_mpi.modes.evaluation_tables import PlayedEpisode
from ppo_mpi.modes.layers import layers_in_rows
from ppo_mpi.modes.steps import Step, Watcher, forced_action
from ppo_mpi.networks.distributions import draw_noise
from ppo_mpi.predicting import ActResult, act_in_rows
from ppo_mpi.seeding import generator


def play_episodes(
    agent: Agent,
    numbers: Sequence[Sequence[int]],
    levels: str,
    seed: int,
    greedy: bool,
    heart: Heart,
    watcher: Watcher | None = None,
) -> list[PlayedEpisode]:
    """Play this rank's episodes; no communication.

    Args:
        agent: who plays.
        numbers: for each slot, the numbers of its episodes in order; none may be empty.
        levels: which levels, as in ``level_of_episode``.
        seed: of the evaluation.
        greedy: the most likely action instead of a sampled one.
        heart: of this rank.
        watcher: sees the steps, and may act in the agent's place or end it all.

    Returns:
        the episodes; without those in which an environment raised, where that is let pass, and
        those that were not over when the watcher ended it.

    Raises:
        NonFiniteError: a reward or an observation is NaN or infinite.
        IterationAbandonedError: a signal to stop came too long ago, in training.
    """
    if not numbers:
        return []
    envs = agent.make_envs(env_indices(agent, numbers), seed, stream="evaluate", levels=levels)
    try:
        return _Game(agent, envs, numbers, levels, seed, greedy).play(heart, watcher)
    finally:
        envs.close()


class _Game:
    """Slots that play their episodes one after the other."""

    def __init__(
        self,
        agent: Agent,
        envs: VecEnvs,
        numbers: Sequence[Sequence[int]],
        levels: str,
        seed: int,
        greedy: bool,
    ) -> None:
        self.agent, self.envs, self.numbers = agent, envs, numbers
        self.levels, self.seed, self.greedy = levels, seed, greedy
        num_slots = len(numbers)
        self.position = [0] * num_slots
        self.noise = [generator(seed, "evaluate:actions", own[0]) for own in numbers]
        self.obs = begin_episodes(agent, envs, numbers, levels, seed)
        self.returns, self.lengths = np.zeros(num_slots), np.zeros(num_slots, int)
        self.active, self.memory = list(range(num_slots)), agent.no_memory(num_slots)
        self.played: list[PlayedEpisode] = []

    def play(self, heart: Heart, watcher: Watcher | None) -> list[PlayedEpisode]:
        """Play until all episodes are over, or the watcher has seen enough."""
        spec = self.agent.model.action_spec
        while self.active:
            heart.beat(EVALUATING)
            STOP.check_grace()
            active = self.active
            draws = None
            if not self.greedy:
                draws = np.stack([draw_noise(self.noise[s], 1, spec)[0] for s in active])
            seen, before = self.obs[active], self.memory[active]
            acted = act_in_rows(self.agent, seen, draws, before)
            self.memory[active] = acted.memory
            actions = acted.actions
            if watcher is not None and watcher.forced is not None:
                actions = self._forced(watcher, seen, actions)
            result = self.envs.step(spread(actions, active, len(self.numbers)))
            self.memory[result.terminated | result.truncated] = 0.0
            self.obs = result.obs
            check_finite(result, self.envs.obs_spec, active, self.agent.config.environment.env)
            self.returns += result.rewards
            self.lengths += 1
            enough = False
            if watcher is not None and watcher.callback is not None:
                enough = self._show(watcher, seen, before, actions, acted, result)
            for slot in list(active):
                if result.terminated[slot] or result.truncated[slot]:
                    self._end(slot, result)
            if enough:
                break
        return self.played

    def _end(self, slot: int, result: StepResult) -> None:
        """Note a slot's episode, and prepare the one after the next."""
        number = self.numbers[slot][self.position[slot]]
        episode = ended_episode(result, slot, number, self.returns[slot], self.lengths[slot])
        if slot not in result.dropped:
            self.played.append(episode)
        self.returns[slot] = self.lengths[slot] = 0
        self.position[slot] += 1
        rest = self.numbers[slot][self.position[slot] :]
        if not rest:
            self.active = [own for own in self.active if own != slot]
            return
        self.noise[slot] = generator(self.seed, "evaluate:actions", rest[0])
        if len(rest) > 1:  # the next one has begun by itself; this is the one after it
            self.agent.assign(self.envs, slot, rest[1], self.levels, self.seed)

    def _forced(self, watcher: Watcher, seen: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return [n, ...] actions with those that are forced in the place of the agent's."""
        actions = actions.copy()
        for i, slot in enumerate(self.active):
            own = forced_action(watcher.forced, self.agent, seen[i], int(self.lengths[slot]))
            if own is not None:
                actions[i] = own
        return actions

    def _show(
        self,
        watcher: Watcher,
        seen: np.ndarray,
        before: np.ndarray,
        actions: np.ndarray,
        acted: ActResult,
        result: StepResult,
    ) -> bool:
        """Show a step of each active slot; return whether the watcher has seen enough."""
        layers: Mapping[str, np.ndarray] = {}
        if watcher.layers is not None:
            layers = layers_in_rows(self.agent, seen, before, watcher.layers)
        enough = False
        for i, slot in enumerate(self.active):
            probabilities = acted.probabilities
            step = Step(
                episode=self.numbers[slot][self.position[slot]],
                step=int(self.lengths[slot]) - 1,
                observation=seen[i],
                action=actions[i],
                reward=float(result.rewards[slot]),
                value=float(acted.values[i]),
                probabilities=None if probabilities is None else probabilities[i],
                memory=before[i],
                terminated=bool(result.terminated[slot]),
                truncated=bool(result.truncated[slot]),
                level=int(result.levels[slot]),
                episode_return=float(self.returns[slot]),
                info={k: float(v) for k, v in result.episode_facts.get(slot, {}).items()},
                final_observation=final_observation(result, slot),
                activations={name: own[i] for name, own in layers.items()},
            )
            assert watcher.callback is not None, "somebody looks"
            enough |= watcher.callback(step) is True
        return enough


def ended_episode(
    result: StepResult, slot: int, number: int, episode_return: float, length: int
) -> PlayedEpisode:
    """Return the episode that ended in a slot with this step."""
    told = result.episode_facts.get(slot, {})
    facts = {name: float(value) for name, value in told.items()}
    level = int(result.levels[slot])
    return PlayedEpisode(number, level, float(episode_return), int(length), facts)


def final_observation(result: StepResult, slot: int) -> np.ndarray | None:
    """Return what the episode that ended in a slot led to; None if unknown, or if none ended."""
    if not (result.terminated[slot] or result.truncated[slot]):
        return None
    last = result.final_obs.get(slot, result.last_obs.get(slot))
    # A copy: the environment may write the next ones into the same memory.
    return None if last is None else np.array(last)


def begin_episodes(
    agent: Agent, envs: VecEnvs, numbers: Sequence[Sequence[int]], levels: str, seed: int
) -> np.ndarray:
    """Begin the first episode of each slot and assign the second; return the observations."""
    for slot, own in enumerate(numbers):
        agent.assign(envs, slot, own[0], levels, seed)
    obs = envs.reset()
    for slot, own in enumerate(numbers):
        if len(own) > 1:
            agent.assign(envs, slot, own[1], levels, seed)
    return obs


def spread(rows: np.ndarray, active: list[int], num: int) -> np.ndarray:
    """Return [num, ...]: the rows where somebody plays, zeros elsewhere."""
    everywhere = np.zeros((num, *rows.shape[1:]), rows.dtype)
    everywhere[active] = rows
    return everywhere


def check_finite(result: StepResult, spec: ObservationSpec, active: list[int], env: str) -> None:
    """Refuse rewards and observations of which no mean and no action could be made.

    Args:
        result: of a step.
        spec: of its observations.
        active: the slots that count.
        env: for the message.

    Raises:
        NonFiniteError: there is a NaN or an infinity.
    """
    seen = spec.vectors(result.obs)
    for what, numbers in (("a reward", result.rewards), ("an observation", seen)):
        bad = numbers[active][~np.isfinite(numbers[active])]
        if bad.size:
            raise NonFiniteError(
                f"{what} of {env} is {float(bad[0])} in an evaluation; mend the environment and "
                "start the same command again"
            )
