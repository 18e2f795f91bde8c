"""The steps that one rank has played, kept in scratch files so that memory stays bounded.

Axes: N steps; n of one episode.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ppo_mpi.modes.steps import Step

BUFFER_BYTES = 2**23
"""What is held back before it is written."""


def step_row(step: Step) -> dict[str, np.ndarray]:
    """Return a step as arrays by name, without what is told of its episode."""
    row = {
        "observations": step.observation,
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
        if self._bytes > BUFFER_BYTES:
            self._write()

    def read(self, name: str, episode: int, start: int, stop: int) -> np.ndarray:
        """Return [n, ...], some steps of an episode."""
        self._write()
        shape, dtype = self.kinds[name]
        rows = np.array(self._rows[episode][start:stop], np.int64)
        stored = np.memmap(self._files[name], dtype, "r", shape=(self._num_rows, *shape))
        return np.array(stored[rows])

    def everything(self, episodes: Mapping[int, int]) -> dict[str, np.ndarray]:
        """Return the arrays [N, ...] of episodes (number -> steps), one behind the other."""
        return {
            name: np.concatenate(
                [self.read(name, own, 0, num) for own, num in episodes.items()]
                or [np.empty((0, *shape), dtype)]
            )
            for name, (shape, dtype) in self.kinds.items()
        }

    def _write(self) -> None:
        if not self._bytes:
            return
        for name, path in self._files.items():
            with path.open("ab") as file:
                np.stack(self._pending[name]).tofile(file)
            self._pending[name] = []
        self._bytes = 0
