"""An agent, or a person, playing episodes one step at a time for people to watch.

Axes: B environments that act at once; K random numbers behind one action; H, W, C image; S numbers
that the policy remembers of an episode.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ppo_mpi.agent import Agent, load_agent
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.machine import set_threads
from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import PlayConfig
from ppo_mpi.modes.drawing import as_picture
from ppo_mpi.predicting import act_in_rows
from ppo_mpi.registry import split_env_name, task_names
from ppo_mpi.settings.record import RecordConfig

HOLD_SECONDS = 0.6
"""How long the last picture of an episode stands still, with the final return in the caption."""

_LEAVING = ("SIGINT", "SIGTERM", "SIGHUP")

_NOISE_STEPS = 256
"""Steps whose random numbers are drawn at once."""


def load_watched_agent(config: RecordConfig | PlayConfig) -> Agent:
    """Load the agent of a run with the threads that were asked for.

    It calculates in float32 as in evaluate, so that the episodes shown are the very ones that
    evaluate counts.

    Raises:
        ConfigError: a setting is out of its range.
        CheckpointError: there is no such run, or no whole checkpoint.
    """
    config.validate()
    set_threads(config.threads, Communicator().node_affinities, 0)
    agent = load_agent(
        config.run, config.checkpoint_dir, config.device, "float32", config.env, config.env_kwargs
    )
    if len(agent.games) > 1:
        agent = agent.shown_in(agent.games[0])
        others = ", ".join(task_names(agent.trained_in)[1:])
        print(f"{agent.run_name} in {agent.games[0]}; it also knows {others}: choose with --env")
    if agent.note:
        print(agent.note)
    return agent.seeing(config.corruption, config.corruption_severity)


@dataclass(frozen=True)
class View:
    """One environment as it is to be shown."""

    frame: np.ndarray
    """[H, W, 3] uint8, the suite's human view."""
    obs: np.ndarray
    """What the agent saw at that moment; of several parts the first picture, of several frames the
    newest."""
    level: int
    """The level; -1 where the suite has none."""
    episode: int
    """The episode's number."""
    episode_return: float
    """Sum of the rewards so far; of the whole episode once it has ended."""
    num_steps: int
    """Steps so far."""
    ended: bool
    """Whether the episode is over and this is its last picture."""

    def fields(self) -> tuple[str, str]:
        """Return the caption's two texts: return so far, and level (or steps)."""
        where = f"level {self.level}" if self.level >= 0 else f"step {self.num_steps}"
        return f"return {self.episode_return:.1f}", where


class Player:
    """Plays given episodes one after another in an environment of its own.

    An environment begins its next episode in the very step that ends one. So the last picture of
    the finished episode is kept and held for a while, during which this player alone stands still;
    that is why it does not share its environment with others.
    """

    def __init__(
        self, agent: Agent, episodes: Iterator[int], *, seed: int, levels: str, hold_steps: int
    ) -> None:
        """Begin the first episode.

        Args:
            agent: who knows the environment.
            episodes: the episodes' numbers, at least one; each has its level and all its
                randomness from ``seed`` and its number, so that it looks the same anywhere.
            seed: whole number >= 0; evaluating with it plays the same episodes.
            levels: train, test, a range or a list.
            hold_steps: for how many steps an episode's last picture is held, >= 1.
        """
        self._agent, self._episodes = agent, episodes
        self._seed, self._levels = seed, levels
        self._hold_steps, self._hold_left = hold_steps, 0
        self._envs = agent.make_envs(1, seed, stream="watch", levels=levels, render=True)
        self._episode, self._next = next(episodes), next(episodes, None)
        self._assign(self._episode)
        self._obs = self._envs.reset()
        self.action: np.ndarray | np.int64 | None = None
        """The one that was taken last."""
        self.memory: np.ndarray
        """[1, S] float32, what the agent remembers of this episode; whoever acts keeps it."""
        self._view: View
        self._noise: np.ndarray
        self._begin()

    @property
    def finished(self) -> bool:
        """Whether the last episode is over and has been shown to its end."""
        return self._view.ended and self._next is None and self._hold_left == 0

    @property
    def waiting(self) -> bool:
        """Whether a last picture is being held, so that no action is wanted."""
        return self._view.ended

    @property
    def view(self) -> View:
        """What to show now."""
        return self._view

    @property
    def obs(self) -> np.ndarray:
        """[1, ...] what to act on."""
        return self._obs

    def noise(self) -> np.ndarray:
        """Return [K], the random numbers behind the next action."""
        step = self._view.num_steps
        if step >= len(self._noise):
            # From the episode's start, for only that is defined; doubling keeps the cost linear.
            steps = max(_NOISE_STEPS, 2 * step)
            self._noise = self._agent.noise_block(self._seed, self._episode, steps)
        return self._noise[step]

    def step(self, action: np.ndarray | np.int64) -> None:
        """Take one step; ``action`` is [] int64 or [A] float32."""
        assert not self._view.ended, "a held picture takes no action"
        self.action = action
        result = self._envs.step(np.asarray(action)[None])
        ended = bool(result.terminated[0] or result.truncated[0])
        self._obs = result.obs
        self._show(self._view.episode_return + float(result.rewards[0]), ended)

    def wait(self) -> None:
        """Let one step's time pass while the last picture is held; then begin the next episode."""
        assert self._view.ended, "only a finished episode is held"
        self._hold_left = max(0, self._hold_left - 1)
        if self._hold_left == 0 and self._next is not None:
            self._episode, self._next = self._next, next(self._episodes, None)
            self._begin()

    def skip(self) -> None:
        """Go to the next episode at once, if there is one."""
        if self._next is None:
            self._hold_left = 0
        elif self._view.ended:
            self._hold_left = 1
            self.wait()
        else:
            self._obs = self._envs.reset()
            self._episode, self._next = self._next, next(self._episodes, None)
            self._begin()

    def close(self) -> None:
        """Free the environment."""
        self._envs.close()

    def _seen(self) -> np.ndarray:
        return newest_frame(self._agent, self._envs.obs_spec.picture(self._obs[0])).copy()

    def _assign(self, episode: int) -> None:
        self._agent.assign(self._envs, 0, episode, self._levels, self._seed)

    def _begin(self) -> None:
        """Show the episode that the environment has just begun, and prepare the one after it."""
        self._noise = np.empty((0, 0))
        self.memory = self._agent.no_memory(1)
        self._view = View(
            self._envs.render()[0].copy(), self._seen(), int(self._envs.levels[0]),
            self._episode, 0.0, 0, False,
        )  # fmt: skip
        if self._next is not None:
            self._assign(self._next)

    def _show(self, episode_return: float, ended: bool) -> None:
        old = self._view
        if ended:
            self._hold_left = self._hold_steps
            frame, obs = old.frame, old.obs
        else:
            # Copies: the environment may write the next ones into the same memory.
            frame, obs = self._envs.render()[0].copy(), self._seen()
        self._view = View(
            frame, obs, old.level, old.episode, episode_return, old.num_steps + 1, ended
        )


def advance(
    agent: Agent, players: Sequence[Player], *, greedy: bool, human_action: int | None = None
) -> None:
    """Let every player take one step, or hold its last picture.

    Args:
        agent: acts for all of them at once.
        players: those that are finished stand still.
        greedy: whether the most probable action is taken instead of a drawn one.
        human_action: taken by everybody instead of the agent's action.
    """
    acting = [player for player in players if not player.waiting]
    for player in players:
        if player.waiting and not player.finished:
            player.wait()
    if not acting:
        return
    noise = None if greedy else np.stack([player.noise() for player in acting])
    memory = np.concatenate([player.memory for player in acting])
    obs = np.concatenate([player.obs for player in acting])
    acted = act_in_rows(agent, obs, noise, memory)
    for i, (player, action) in enumerate(zip(acting, acted.actions, strict=True)):
        player.memory = acted.memory[i : i + 1]
        player.step(action if human_action is None else np.int64(human_action))


def newest_frame(agent: Agent, obs: np.ndarray) -> np.ndarray:
    """Return the newest of the frames that Atari's environments stack.

    Args:
        agent: who sees them.
        obs: [H, W, C] uint8, or anything else, which is returned as it is.

    Returns:
        [H, W, 1] uint8, or [H, W, 3] where frames are in color.
    """
    is_atari = split_env_name(agent.config.environment.env)[0] == "atari"
    if not is_atari or obs.ndim != 3:
        return obs
    return obs[:, :, -1 if agent.config.atari.grayscale else -3 :]


def agent_picture(view: View) -> np.ndarray:
    """Return [H, W, 3] uint8, the picture that the agent saw.

    Raises:
        ConfigError: the agent sees no picture.
    """
    if view.obs.ndim != 3:
        raise ConfigError(
            f"agent_view=True, but what this agent sees is no picture (shape {view.obs.shape}); "
            "leave out --agent-view"
        )
    return as_picture(view.obs)


@contextlib.contextmanager
def signals_unwind() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal raise KeyboardInterrupt within the block.

    So terminals are restored and unfinished videos removed on the way out.
    """
    numbers = [getattr(signal, name) for name in _LEAVING if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
