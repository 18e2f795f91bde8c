"""Steps of whole episodes as arrays: in memory, and as a file .npz without pickles.

Axes: N steps; E episodes.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.step_store import FINALS, KNOWN, StepStore

TABLE = ("starts", "lengths", "numbers", "levels", "returns", "sets", "games")
"""What is told of each episode, as ``episode_starts`` and so on."""


@dataclass(frozen=True)
class Steps:
    """Steps of several episodes, one behind the other."""

    arrays: Mapping[str, np.ndarray]
    """By name: ``observations``, ``actions``, ``rewards``, ``values``, ``terminated``,
    ``truncated``, ``episodes`` and ``steps`` [N, ...]; ``probabilities``, ``memories`` and
    ``activations/<layer>`` where there are any; ``final_observations``, ``final_known``,
    ``episode_starts`` and all of ``TABLE`` [E]."""
    metadata: Mapping[str, Any]
    """Run, checkpoint, environment and settings."""

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an array by its name."""
        return self.arrays[name]

    def __len__(self) -> int:
        """Return N."""
        return len(self.arrays["episodes"])

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.arrays["episode_starts"])

    def episode(self, index: int) -> dict[str, np.ndarray]:
        """Return the arrays of one episode, by its place in the file, as views; -1 is the last.

        What is told of the whole episode stands without its axis: ``episode_levels`` etc., and
        ``final_observations``.

        Raises:
            IndexError: there is no such episode.
        """
        start = int(self.arrays["episode_starts"][index])
        rows = slice(start, start + int(self.arrays["episode_lengths"][index]))
        about = {FINALS, KNOWN, *(f"episode_{name}" for name in TABLE)}
        return {
            name: own[index] if name in about else own[rows] for name, own in self.arrays.items()
        }

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the episodes."""
        return map(self.episode, range(self.num_episodes))


def load_steps(path: str | Path) -> Steps:
    """Read a file of ``evaluate --save-steps``; all of it comes into memory.

    Raises:
        ConfigError: it is no such file.
    """
    try:
        place = Path(path).expanduser()
        zipfile.ZipFile(place).close()  # np.load would take a single array as well
        with np.load(place, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        metadata = json.loads(str(arrays.pop("metadata")))
        missing = {"episodes", *(f"episode_{name}" for name in TABLE)} - set(arrays)
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(
            f"{path} holds no saved steps ({error}); use a file of evaluate --save-steps"
        ) from error
    return Steps(arrays, metadata)


def episode_table(
    lengths: list[int], numbers: list[int], levels: list[int], returns: list[float],
    sets: list[str], games: list[str],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return what is told of E episodes, and of which episode each of the N steps is.

    Args:
        lengths: steps of each.
        numbers: of each, within its set.
        levels: of each, -1 where there are none.
        returns: sums of raw rewards.
        sets: the set of levels of each.
        games: the environment of each.
    """
    size = np.array(lengths, np.int64)
    starts = np.concatenate([[0], np.cumsum(size)])[:-1].astype(np.int64)
    episodes = np.repeat(np.arange(len(size)), size)
    return {
        "episodes": episodes.astype(np.int64),
        "steps": (np.arange(len(episodes)) - starts[episodes]).astype(np.int64),
        "episode_starts": starts,
        "episode_lengths": size,
        "episode_numbers": np.array(numbers, np.int64),
        "episode_levels": np.array(levels, np.int64),
        "episode_returns": np.array(returns, np.float64),
        "episode_sets": np.array(sets, np.str_),
        "episode_games": np.array(games, np.str_),
    }


def steps_in(
    store: StepStore, lengths: Mapping[int, int], game: str, metadata: dict[str, Any]
) -> Steps:
    """Return a store's steps of episodes (number -> steps) in memory."""
    arrays = store.everything(lengths)
    ends = np.cumsum([0, *lengths.values()])
    rewards = arrays.get("rewards", np.empty(0, np.float32)).astype(np.float64)
    table = episode_table(
        [*lengths.values()],
        [*lengths],
        [store.levels[own] for own in lengths],
        [float(rewards[a:b].sum()) for a, b in zip(ends, ends[1:], strict=False)],
        [str(metadata["levels"])] * len(lengths),
        [game] * len(lengths),
    )
    return Steps(arrays | store.finals(lengths) | table, metadata)
