"""What an agent thinks of what it is shown: its value, and what the value depends on.

Axes: H, W, C image; A size of an action; F steps that were noted.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppo_mpi.agent import Agent
from ppo_mpi.modes.playback import Player, View
from ppo_mpi.storage.durable import write_atomically


@dataclass(frozen=True)
class Insight:
    """What the agent thinks of one view."""

    values: tuple[float, ...]
    """Of the episode's steps so far, the present one last."""
    low: float
    """The least value so far in the whole video, or 0."""
    high: float
    """The largest, or 0."""
    gradient: np.ndarray | None
    """[H, W, C] float32, the derivative of the present value; None if nobody asked for it."""


class Observer:
    """Asks the agent what it thinks of every view, and notes it beside what it then did."""

    def __init__(self, agent: Agent, num_players: int, saliency: bool) -> None:
        """Begin without notes.

        Args:
            agent: who plays.
            num_players: places in the picture.
            saliency: whether derivatives are asked for.

        Raises:
            ConfigError: they are, and the agent sees no picture.
        """
        self._agent, self._saliency = agent, saliency
        if saliency:
            agent.check_sees_pictures()
        self._values: list[list[float]] = [[] for _ in range(num_players)]
        self._seen: list[np.ndarray] = [np.empty(0)] * num_players
        self._newest: list[Insight | None] = [None] * num_players
        self._range = 0.0, 0.0
        self._rows: list[dict[str, np.ndarray | np.generic]] = []

    def look(self, players: Sequence[Player]) -> list[Insight]:
        """Return what the agent thinks of every player's present view."""
        found = []
        for place, player in enumerate(players):
            known = self._newest[place]
            if not player.waiting or known is None:  # a held picture is thought of as before
                known = self._newest[place] = self._thought(place, player)
            found.append(known)
        return found

    def note(self, views: Sequence[View], players: Sequence[Player]) -> None:
        """Note what was seen, thought and done, after the step that followed the views."""
        for place, (view, player) in enumerate(zip(views, players, strict=True)):
            known = self._newest[place]
            if view.ended or player.action is None or known is None:
                continue
            self._rows.append({
                "observations": self._seen[place],
                "values": np.float32(known.values[-1]),
                "actions": player.action,
                "episodes": np.int64(view.episode),
                "levels": np.int64(view.level),
                "steps": np.int64(view.num_steps),
            })  # fmt: skip

    def save(self, path: Path) -> int:
        """Write all notes as .npz, one array for each name with a row a step; return their number.

        The arrays are observations [F, ...], values [F], actions [F] or [F, A], episodes, levels
        and steps [F].
        """
        content = io.BytesIO()
        names = self._rows[0] if self._rows else {}
        arrays = {name: np.stack([row[name] for row in self._rows]) for name in names}
        np.savez_compressed(content, **arrays)
        write_atomically(path, content.getvalue())
        return len(self._rows)

    def _thought(self, place: int, player: Player) -> Insight:
        gradient, self._seen[place] = None, player.obs[0].copy()
        if self._saliency:
            values, gradients = self._agent.value_gradient(player.obs, player.memory)
            gradient = gradients[0]
        else:
            values = self._agent.act(player.obs, None, player.memory).values
        if player.view.num_steps == 0:
            self._values[place] = []
        self._values[place].append(float(values[0]))
        low, high = self._range
        self._range = min(low, float(values[0])), max(high, float(values[0]))
        return Insight(tuple(self._values[place]), *self._range, gradient)
