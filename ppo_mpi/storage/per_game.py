"""Curves of each game, in runs that learn or test in several at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppo_mpi.storage.curves import EpisodeRecord

Score = Callable[[str, float], float | None]
"""Game, mean return -> its normalized score; None where no range of the game is published."""


class GameCurves:
    """For each game the mean return of its last episodes, how many there were, and its score.

    A column's name says what and of which game: ``return_of_maze``, ``test_return_of_maze``. A
    mean over all episodes would be that of the games with short episodes; ``mean_score`` is the
    mean over the games, each normalized to its own range.
    """

    def __init__(self, games: Mapping[str, Sequence[str]], window: int, score: Score) -> None:
        """Begin without episodes.

        Args:
            games: split -> its games: environment i of the job plays number i modulo their count.
                Splits with one game have no columns.
            window: episodes behind a mean.
            score: normalizes a mean return.
        """
        self._names = {split: tuple(own) for split, own in games.items()}
        self._games = {split: tuple(own) for split, own in games.items() if len(own) > 1}
        self._score = score
        self._returns: dict[tuple[str, str], deque[float]] = {
            (split, game): deque(maxlen=window)
            for split, own in self._games.items()
            for game in own
        }
        self._counts = dict.fromkeys(self._returns, 0)

    def game_of(self, episode: EpisodeRecord) -> str:
        """Return which game an episode was."""
        own = self._names[episode.split]
        return own[episode.env % len(own)]

    def add(self, episode: EpisodeRecord) -> None:
        """Take in a finished episode."""
        key = episode.split, self.game_of(episode)
        if key in self._returns:
            self._returns[key].append(float(episode.episode_return))
            self._counts[key] += 1

    def columns(self) -> dict[str, float | None]:
        """Return the columns of one row; None where there is nothing to say yet."""
        row: dict[str, float | None] = {}
        for split, own in self._games.items():
            prefix = "test_" if split == "test" else ""
            scores: list[float | None] = []
            for game in dict.fromkeys(own):
                returns = self._returns[split, game]
                mean = math.fsum(returns) / len(returns) if returns else None
                name = f"of_{_word(game)}"
                row[f"{prefix}return_{name}"] = mean
                row[f"{prefix}episodes_{name}"] = self._counts[split, game]
                scores.append(None if mean is None else self._score(game, mean))
                row[f"{prefix}score_{name}"] = scores[-1]
            known = [score for score in scores if score is not None]
            row[f"{prefix}mean_score"] = (
                math.fsum(known) / len(known) if len(known) == len(scores) else None
            )
        return row

    def state_dict(self) -> dict[str, Any]:
        """Return split/game -> [returns of the last episodes, how many there were], for JSON."""
        return {
            "/".join(key): [list(returns), self._counts[key]]
            for key, returns in self._returns.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``."""
        for key, returns in self._returns.items():
            saved, count = state["/".join(key)]
            returns.clear()
            returns.extend(map(float, saved))
            self._counts[key] = int(count)


def _word(game: str) -> str:
    """Return a game's name fit for a column."""
    return "".join(letter if letter.isalnum() or letter in "_.-" else "-" for letter in game)
