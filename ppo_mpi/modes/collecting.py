"""Steps of a trained agent, played for Python: with a callback, with forced actions, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ppo_mpi.agent import Agent
from ppo_mpi.distributed.heart import Heart
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.layers import check_layers
from ppo_mpi.modes.playing import play_episodes
from ppo_mpi.modes.saved_steps import Steps, steps_in
from ppo_mpi.modes.step_store import StepStore
from ppo_mpi.modes.steps import Callback, Forced, Step, Watcher
from ppo_mpi.settings.checks import at_least
from ppo_mpi.settings.level_sets import check_levels


@dataclass
class _Collector:
    """Keeps steps, shows them, and counts."""

    store: StepStore
    callback: Callback | None
    most: int
    """Steps after which there are enough; 0 = no limit."""
    seen: int = 0
    ended: set[int] = field(default_factory=set)
    """Episodes that are over."""

    def __call__(self, step: Step) -> bool:
        self.store.add(step)
        self.seen += 1
        if step.done:
            self.ended.add(step.episode)
        enough = self.callback is not None and self.callback(step) is True
        return enough or self.seen == self.most


def collect(
    agent: Agent,
    episodes: int = 0,
    timesteps: int = 0,
    *,
    levels: str = "train",
    greedy: bool = False,
    seed: int = 1_000_003,
    callback: Callback | None = None,
    forced: Forced | None = None,
    activations: bool | str | Sequence[str] = False,
) -> Steps:
    """Play and return every step, on one process, one episode after the other.

    Args:
        agent: who plays.
        episodes: how many; or
        timesteps: how many, the last episode perhaps unfinished.
        levels: train, test, a range or a list, for suites with levels.
        greedy: the most likely action instead of a sampled one.
        seed: of the episodes and the actions; those of ``evaluate`` with the same seed.
        callback: sees each step; True ends it all.
        forced: actions in place of the agent's: one for all steps, a list with one for each step
            of an episode, or a function of observation and step; None is the agent's own.
        activations: whether what the layers gave is wanted; or the layers' names or patterns.

    Raises:
        ConfigError: neither or both of episodes and timesteps, or a value out of its range.
        ValueError: a forced action is none of the environment's.
    """
    at_least(0, episodes=episodes, timesteps=timesteps, seed=seed)
    check_levels(levels, allow_both=False)
    if bool(episodes) == bool(timesteps):
        raise ConfigError(
            f"episodes={episodes} and timesteps={timesteps}: use one of the two, above 0"
        )
    layers: tuple[str, ...] | None = None
    if activations:
        named = (activations,) if isinstance(activations, str) else activations
        layers = () if named is True else tuple(named)
        check_layers(agent, layers)
    metadata: dict[str, Any] = {
        "run": agent.run_name,
        "timesteps": agent.timesteps,
        "env": agent.config.environment.env,
        "levels": levels,
        "greedy": greedy,
        "seed": seed,
        "forced": forced is not None,
    }
    with StepStore() as store:
        collector = _Collector(store, callback, timesteps)
        watcher = Watcher(collector, forced, layers)
        # No episode is shorter than a step.
        numbers = [range(episodes or timesteps)]
        played = play_episodes(agent, numbers, levels, seed, greedy, Heart(), watcher)
        # Over, but not played: the environment raised, which was let pass.
        dropped = collector.ended - {episode.episode for episode in played}
        lengths = {own: num for own, num in store.lengths.items() if own not in dropped}
        return steps_in(store, lengths, agent.games[0], metadata)
