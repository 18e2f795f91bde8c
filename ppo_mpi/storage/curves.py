"""The files of a run's curves: progress.csv and episodes.csv."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.durable import explained, write_atomically
from ppo_mpi.storage.run_folder import EPISODES, PROGRESS, TENSORBOARD, TRACKERS

_EPISODE_COLUMNS = ("iteration", "split", "env", "level", "return", "length")


@dataclass(frozen=True)
class EpisodeRecord:
    """One finished episode."""

    iteration: int
    """The iteration in which it ended."""
    split: Literal["train", "test"]
    """Whether it was an episode of the training environments or on held-out levels."""
    env: int
    """The environment's index in the whole job, within its split."""
    level: int
    """The level; -1 where the suite has no levels."""
    episode_return: float
    """The sum of the raw rewards."""
    length: int
    """Timesteps."""


class Curves:
    """The files of a run's curves, appended row by row, on rank 0."""

    def __init__(
        self,
        run_dir: Path,
        resumed_iteration: int,
        game_of: Callable[[EpisodeRecord], str] | None = None,
        logged_iteration: int | None = None,
    ) -> None:
        """Open the files of a run, cut at ``resumed_iteration``; 0 starts them afresh.

        Args:
            run_dir: the run's folder.
            resumed_iteration: the last one that is kept.
            logged_iteration: the last one whose row is kept, if not the same.
            game_of: the last column of the episodes, where there are several games.

        Raises:
            CheckpointError: they cannot be written; the message names the folder.
        """
        self._run_dir = run_dir
        self._kept_rows = resumed_iteration if logged_iteration is None else logged_iteration
        self._game_of = game_of
        self._progress_path = run_dir / PROGRESS
        self._columns: list[str] = []
        self._is_first_row = True
        warnings = []
        with explained("begin the curves", run_dir):
            if resumed_iteration == 0:
                for name in (PROGRESS, EPISODES):
                    (run_dir / name).unlink(missing_ok=True)
                for name in (TENSORBOARD, TRACKERS):
                    shutil.rmtree(run_dir / name, ignore_errors=True)
            for name in (PROGRESS, EPISODES):
                if resumed_iteration and not (run_dir / name).exists():
                    warnings.append(
                        f"warning: {run_dir / name} is missing; it begins anew at iteration "
                        f"{resumed_iteration + 1}"
                    )
            cut_csv(run_dir / PROGRESS, self._kept_rows)
            cut_csv(run_dir / EPISODES, resumed_iteration)
            self._progress = _open(self._progress_path)
            self._episodes = _open(run_dir / EPISODES)
            if self._episodes.tell() == 0:
                self._episodes.write(
                    _csv_rows([[*_EPISODE_COLUMNS, *["game"] * (game_of is not None)]])
                )
        self.warning = "\n".join(warnings)
        """What the user should be told: a file is missing; empty if all is well."""

    def write_episodes(self, episodes: Sequence[EpisodeRecord]) -> None:
        """Append the episodes of an iteration.

        Raises:
            CheckpointError: they cannot be written, say because the disk is full.
        """
        if not episodes:
            return
        own = self._game_of
        games = [[own(episode)] if own else [] for episode in episodes]
        rows = [_episode_cells(e) + game for e, game in zip(episodes, games, strict=True)]
        with explained("write the curves", self._run_dir):
            self._episodes.write(_csv_rows(rows))

    def write(self, row: Mapping[str, float | None]) -> None:
        """Append a row; None leaves a cell empty.

        Raises:
            CheckpointError: it cannot be written, say because the disk is full.
        """
        with explained("write the curves", self._run_dir):
            if self._is_first_row:
                self._begin_columns(list(row))
            unknown = row.keys() - set(self._columns)
            assert not unknown, f"metrics {sorted(unknown)} were not in the session's first row"
            cells = [_cell(row.get(column)) for column in self._columns]
            self._progress.write(_csv_rows([cells]))
        self._is_first_row = False

    def _begin_columns(self, columns: list[str]) -> None:
        """Write the header, or take over the one of the run so far.

        A resumed run may have more metrics, say of an evaluation that was switched on: their
        columns are added at the right, with empty cells in the rows so far.
        """
        # A damaged byte costs a cell of the curve, not the run.
        text = self._progress_path.read_text(encoding="utf-8", errors="replace")
        try:
            rows = list(csv.reader(io.StringIO(text)))
        except csv.Error as error:
            raise CheckpointError(
                f"{self._progress_path} cannot be read ({error}); mend it, or remove it (the curve "
                "then begins anew)"
            ) from error
        if not rows:
            self._columns = columns
            self._progress.write(_csv_rows([columns]))
            return
        new = [column for column in columns if column not in rows[0]]
        self._columns = rows[0] + new
        if new:
            padded = [self._columns, *(row + [""] * len(new) for row in rows[1:])]
            self._progress.close()
            write_atomically(self._progress_path, _csv_rows(padded))
            self._progress = _open(self._progress_path)

    def flush(self) -> None:
        """Wait until the rows are on the disk.

        Raises:
            CheckpointError: they cannot be written.
        """
        with explained("write the curves", self._run_dir):
            for file in (self._progress, self._episodes):
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._progress.close()
        self._episodes.close()


class Unbuffered:
    """A file without a buffer: a killed run has all its rows, and a full disk fails at once.

    A buffer would still hold what a full disk refused, and fail again when the file is closed.
    """

    def __init__(self, path: Path, mode: Literal["ab", "wb"]) -> None:
        self._file = path.open(mode, buffering=0)
        self.tell = self._file.tell
        self.fileno = self._file.fileno
        self.close = self._file.close

    def write(self, content: bytes) -> None:
        """Write all of it, where the system may write less."""
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]

    def flush(self) -> None:
        """Hold nothing back."""


def _open(path: Path) -> Unbuffered:
    return Unbuffered(path, "ab")


def _csv_rows(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)  # repr is exact: the shortest that reads back equal


def _episode_cells(episode: EpisodeRecord) -> list[str]:
    return [
        str(int(episode.iteration)), episode.split, str(int(episode.env)), str(int(episode.level)),
        repr(float(episode.episode_return)), str(int(episode.length)),
    ]  # fmt: skip


def cut_csv(path: Path, iteration: int) -> None:
    """Cut a CSV at the iteration from which its run goes on; a missing file stays missing.

    Rows of later iterations go, and so does a last line that was not written to its end. The
    file is replaced as a whole, and only if something goes.

    Args:
        path: a CSV whose first column is ``iteration``.
        iteration: the last iteration to keep.
    """
    if not path.exists():
        return
    old = path.read_bytes()
    header, *rows = [line for line in old.splitlines(keepends=True) if line.endswith(b"\n")] or [
        b""
    ]
    kept = header + b"".join(row for row in rows if _belongs(row, iteration))
    if kept != old:
        write_atomically(path, kept)


def past_values(path: Path, columns: Sequence[str]) -> dict[str, list[float]]:
    """Return column -> its values in a progress.csv, without the empty cells; {} without a file.

    Raises:
        CheckpointError: it cannot be read; the message names it.
    """
    if not path.exists():
        return {}
    found: dict[str, list[float]] = {name: [] for name in columns}
    with explained("read the curves", path), path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name in columns:
                with contextlib.suppress(ValueError):  # an empty cell, or one that is damaged
                    found[name].append(float(row.get(name) or ""))
    return found


def _belongs(row: bytes, iteration: int) -> bool:
    number = row.split(b",", 1)[0]
    return number.isdigit() and int(number) <= iteration
