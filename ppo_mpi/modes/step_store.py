"""The steps that one rank has played, kept in scratch files so that memory stays bounded.

Axes: N steps; n of one episode.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ppo_mpi.modes.steps import Step

BUFFER_BYTES = 2**23
"""What is held back before it is written."""
OBSERVATIONS = "observations"
FINALS, KNOWN = "final_observations", "final_known"


def step_row(step: Step) -> dict[str, np.ndarray]:
    """Return a step as arrays by name, without what is told of its episode."""
    row = {
        OBSERVATIONS: step.observation,
        "actions": np.asarray(step.action),
        "rewards": np.float32(step.reward),
        "values": np.float32(step.value),
        "terminated": np.bool_(step.terminated),
        "truncated": np.bool_(step.truncated),
    }
    if step.probabilities is not None:
        row["probabilities"] = step.probabilities
    if step.memory.size:
        row["memories"] = step.memory
    row |= {f"activations/{name}": own for name, own in step.activations.items()}
    return {name: np.asarray(own) for name, own in row.items()}


class StepStore:
    """Steps of several episodes, in any order, to be read episode by episode.

    The scratch files lie where ``TMPDIR`` says.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._folder = tempfile.TemporaryDirectory(prefix="ppo_mpi-steps-")
        self._pending: dict[str, list[np.ndarray]] = {}
        self._bytes = 0
        self._files: dict[str, Path] = {}
        self._rows: dict[int, array[int]] = {}
        self._num_rows = 0
        self._finals: list[np.ndarray] = []
        self._final_places: dict[int, int] = {}
        self.kinds: dict[str, tuple[tuple[int, ...], str]] = {}
        """Array -> shape of a step's part of it, and its dtype."""
        self.levels: dict[int, int] = {}
        """Episode -> its level."""

    def __enter__(self) -> StepStore:
        """Stay until the end of a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the scratch files."""
        self._folder.cleanup()

    @property
    def lengths(self) -> dict[int, int]:
        """Episode -> steps so far."""
        return {episode: len(rows) for episode, rows in self._rows.items()}

    def add(self, step: Step) -> None:
        """Take in a step; those of one episode come in their order."""
        row = step_row(step)
        if not self.kinds:
            self.kinds = {name: (own.shape, own.dtype.str) for name, own in row.items()}
            self._files = {
                name: Path(self._folder.name) / f"{number}.bin" for number, name in enumerate(row)
            }
            self._pending = {name: [] for name in row}
        for name, own in row.items():
            self._pending[name].append(np.array(own))
            self._bytes += own.nbytes
        self._rows.setdefault(step.episode, array("q")).append(self._num_rows)
        self.levels[step.episode] = step.level
        self._num_rows += 1
        if step.final_observation is not None:
            dtype = self.kinds[OBSERVATIONS][1]
            self._finals.append(np.array(step.final_observation, dtype))
            self._bytes += self._finals[-1].nbytes
            self._final_places[step.episode] = len(self._final_places)
        if self._bytes > BUFFER_BYTES:
            self._write()

    def read(self, name: str, episode: int, start: int, stop: int) -> np.ndarray:
        """Return [n, ...], some steps of an episode."""
        self._write()
        shape, dtype = self.kinds[name]
        rows = np.array(self._rows[episode][start:stop], np.int64)
        stored = np.memmap(self._files[name], dtype, "r", shape=(self._num_rows, *shape))
        return np.array(stored[rows])

    def final(self, episode: int) -> np.ndarray | None:
        """Return the observation that an episode ended in; None if it is not known, or not here."""
        if episode not in self._final_places:
            return None
        self._write()
        shape, dtype = self.kinds[OBSERVATIONS]
        place = (len(self._final_places), *shape)
        stored = np.memmap(self._final_file, dtype, "r", shape=place)
        return np.array(stored[self._final_places[episode]])

    def everything(self, episodes: Mapping[int, int]) -> dict[str, np.ndarray]:
        """Return the arrays [N, ...] of episodes (number -> steps), one behind the other."""
        return {
            name: np.concatenate(
                [self.read(name, own, 0, num) for own, num in episodes.items()]
                or [np.empty((0, *shape), dtype)]
            )
            for name, (shape, dtype) in self.kinds.items()
        }

    def finals(self, episodes: Iterable[int]) -> dict[str, np.ndarray]:
        """Return what E episodes ended in, and of which that is known."""
        found = [self.final(episode) for episode in episodes]
        shape, dtype = self.kinds.get(OBSERVATIONS, ((0,), "<f4"))
        unknown = np.zeros(shape, dtype)
        return {
            FINALS: np.array([unknown if x is None else x for x in found], dtype).reshape(
                -1, *shape
            ),
            KNOWN: np.array([x is not None for x in found], bool),
        }

    def _write(self) -> None:
        if not self._bytes:
            return
        for name, path in self._files.items():
            _append(path, self._pending[name])
            self._pending[name] = []
        _append(self._final_file, self._finals)
        self._finals = []
        self._bytes = 0

    @property
    def _final_file(self) -> Path:
        return Path(self._folder.name) / "final.bin"


def _append(path: Path, rows: Sequence[np.ndarray]) -> None:
    if rows:
        with path.open("ab") as file:
            np.stack(rows).tofile(file)
