"""The mode play: watch a trained agent, or take over its keys.

Where there is a display it opens a window; else it draws in the terminal; else it writes a video.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ppo_mpi.agent import Agent
from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import PlayConfig
from ppo_mpi.modes.drawing import resize
from ppo_mpi.modes.playback import (
    HOLD_SECONDS,
    Player,
    View,
    advance,
    agent_picture,
    load_watched_agent,
    signals_unwind,
)
from ppo_mpi.modes.record import record
from ppo_mpi.modes.viewers import TerminalViewer, Viewer, WindowViewer, window_problem
from ppo_mpi.registry import split_env_name
from ppo_mpi.settings.record import RecordConfig

PROCGEN_COMBOS: tuple[frozenset[str], ...] = tuple(
    frozenset(combo.split())
    for combo in (
        "left down", "left", "left up", "down", "", "up", "right down", "right", "right up",
        "d", "a", "w", "s", "Q", "e",
    )
)  # fmt: skip
"""The keys behind each of Procgen's 15 actions, in the engine's order; small q quits, so the
special action Q is typed with shift."""

HELP = "space pause  n next  + - speed  q quit"
TAKE_OVER_HELP = "h your turn"
HUMAN_HELP = "arrows move  d a w s e Q specials  h agent's turn  q quit"

_SLOWEST, _FASTEST = 1 / 16, 16.0
_PAUSE_SECONDS = 0.02


@dataclass
class Controls:
    """What the person watching has chosen by keys."""

    human: bool = False
    """Whether the person acts instead of the agent."""
    can_take_over: bool = True
    """Whether the environment's actions have keys (Procgen)."""
    paused: bool = False
    """Whether time stands still."""
    speed: float = 1.0
    """Factor on the steps per second."""
    quit: bool = False
    """Whether to leave."""
    skip: bool = False
    """Whether to go to the next episode now."""

    def press(self, keys: Iterable[str]) -> None:
        """Take note of keys; those that steer the game are left to ``procgen_action``."""
        for key in keys:
            if key == "q":
                self.quit = True
            elif key == " ":
                self.paused = not self.paused
            elif key == "n":
                self.skip = True
            elif key in "+=":
                self.speed = min(_FASTEST, self.speed * 2)
            elif key in "-_":
                self.speed = max(_SLOWEST, self.speed / 2)
            elif key == "h" and self.can_take_over:
                self.human = not self.human

    def status(self, view: View) -> tuple[str, str]:
        """Return the two lines below the picture: the episode, and who plays it how."""
        parts: list[str] = []
        if self.human:
            parts.append("you play")
        if self.paused:
            parts.append("paused")
        if self.speed != 1:
            parts.append(f"speed {self.speed:g}")
        return "  ".join(view.fields()), "  ".join(parts)


def procgen_action(keys: Iterable[str]) -> int:
    """Return the action for the keys pressed during one step.

    The longest combination whose keys are all pressed wins, as in the engine's own window; no key
    is the action that does nothing. Capitals count as small letters, except Q.
    """
    pressed = {key if key == "Q" else key.lower() for key in keys}
    best = PROCGEN_COMBOS.index(frozenset())
    for action, combo in enumerate(PROCGEN_COMBOS):
        if combo <= pressed and len(combo) > len(PROCGEN_COMBOS[best]):
            best = action
    return best


def play_command(config: PlayConfig) -> int:
    """Show the agent of a run until it is told to end, by key, number of episodes or time.

    Returns:
        the exit status, 0.

    Raises:
        ConfigError: the run has no checkpoint; ``human`` with an environment or a place that has
            no keys.
    """
    agent = load_watched_agent(config)
    with signals_unwind():
        viewer = open_viewer(config, f"ppo_mpi: {agent.run_name}")
        if viewer is None:
            write_instead(agent, config)
            return 0
        try:
            last = watch(agent, config, viewer)
        except KeyboardInterrupt:
            return 0
    print(last)
    return 0


def open_viewer(config: PlayConfig, title: str) -> Viewer | None:
    """Return a window, else the terminal, else None; say on standard error why it is no window."""
    if not config.terminal:
        problem = window_problem()
        if problem is None:
            return WindowViewer(title)
        print(f"no window: {problem}", file=sys.stderr)
    if not sys.stdout.isatty():
        return None
    sys.stdout.flush()
    has_keys = sys.stdin is not None and sys.stdin.isatty()
    return TerminalViewer(sys.stdout.buffer, sys.stdin.fileno() if has_keys else None)


def write_instead(agent: Agent, config: PlayConfig) -> None:
    """Write a video of what would have been shown, and say where it is.

    Raises:
        ConfigError: ``human``, for there is nobody.
    """
    if config.human:
        raise ConfigError(
            "human=True needs a window or a terminal, and there is neither; leave out --human"
        )
    wanted = RecordConfig(
        episodes=max(1, config.episodes), seconds=config.seconds, fps=config.fps,
        agent_view=config.agent_view, caption=True, levels=config.levels, greedy=config.greedy,
        seed=config.seed, asset_dir=config.asset_dir,
    )  # fmt: skip
    for video in record(agent, wanted):
        print(f"no terminal to draw in; wrote {video.describe()}")


def watch(agent: Agent, config: PlayConfig, viewer: Viewer) -> str:
    """Show episode after episode, as fast as ``fps`` and the keys say.

    Returns:
        a summary of the finished episodes, to print once the screen is the user's again.

    Raises:
        ConfigError: ``human`` for an environment without keys, or ``agent_view`` for an agent
            that sees no picture.
    """
    numbers = itertools.count()
    player = Player(
        agent, itertools.islice(numbers, config.episodes) if config.episodes else numbers,
        seed=config.seed, levels=config.levels, hold_steps=max(1, round(HOLD_SECONDS * config.fps)),
    )  # fmt: skip
    controls = Controls(human=config.human, can_take_over=has_procgen_keys(agent))
    returns: dict[int, float] = {}
    try:
        if config.human and not controls.can_take_over:
            raise ConfigError("human=True works for Procgen's games only; leave out --human")
        if config.agent_view:
            agent_picture(player.view)
        with viewer:
            _loop(agent, config, viewer, player, controls, returns)
    finally:
        player.close()
    if not returns:
        return "no episode was watched to its end"
    mean = sum(returns.values()) / len(returns)
    return f"episodes watched to their end: {len(returns)}, mean return {mean:.2f}"


def has_procgen_keys(agent: Agent) -> bool:
    """Return whether the agent's environment is a Procgen game."""
    return split_env_name(agent.config.environment.env)[0] == "procgen"


def _loop(
    agent: Agent,
    config: PlayConfig,
    viewer: Viewer,
    player: Player,
    controls: Controls,
    returns: dict[int, float],
) -> None:
    start = due = time.monotonic()
    while not (controls.quit or player.finished):
        if config.seconds and time.monotonic() - start >= config.seconds:
            return
        view = player.view
        viewer.show(_picture(view, config, viewer), controls.status(view), _help(controls))
        due = max(due + 1 / (config.fps * controls.speed), time.monotonic() - 0.5)
        pressed = _keys_until(due, viewer, controls)
        if controls.skip:
            controls.skip = False
            player.skip()
            continue
        if controls.paused:
            due = time.monotonic()
            continue
        human_action = procgen_action(pressed) if controls.human else None
        advance(agent, [player], greedy=config.greedy, human_action=human_action)
        if player.view.ended:
            returns[player.view.episode] = player.view.episode_return


def _keys_until(due: float, viewer: Viewer, controls: Controls) -> list[str]:
    """Read keys until it is time for the next step; a pause is left by a key only."""
    pressed = viewer.keys()
    controls.press(pressed)
    while not controls.quit and time.monotonic() < due:
        time.sleep(max(0.0, min(_PAUSE_SECONDS, due - time.monotonic())))
        keys = viewer.keys()
        controls.press(keys)
        pressed += keys
    return pressed


def _picture(view: View, config: PlayConfig, viewer: Viewer) -> np.ndarray:
    # In place of a game in color nobody has asked for what the agent sees of it in gray.
    is_alike = view.obs.ndim == 3 and view.obs.shape[2] == view.frame.shape[2]
    if not config.agent_view and not (viewer.prefers_obs and is_alike):
        return view.frame
    seen = agent_picture(view)
    if viewer.prefers_obs:
        return seen
    height = view.frame.shape[0]
    return resize(seen, height, round(seen.shape[1] * height / seen.shape[0]))


def _help(controls: Controls) -> str:
    if not controls.can_take_over:
        return HELP
    return HUMAN_HELP if controls.human else f"{HELP}  {TAKE_OVER_HELP}"
