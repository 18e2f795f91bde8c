"""The files of a run's curves: progress.csv, episodes.csv and TensorBoard's."""

from __future__ import annotations

import csv
import io
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from ppo_mpi.storage.durable import write_atomically
from ppo_mpi.storage.run_folder import EPISODES, PROGRESS, TENSORBOARD, cut_csv

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

    def __init__(self, run_dir: Path, resumed_iteration: int) -> None:
        """Open the files of a run, cut at ``resumed_iteration``; 0 starts them afresh."""
        folder = run_dir / TENSORBOARD
        if resumed_iteration == 0:
            for name in (PROGRESS, EPISODES):
                (run_dir / name).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        self._progress_path = run_dir / PROGRESS
        self._columns: list[str] = []
        self._is_first_row = True
        cut_csv(self._progress_path, resumed_iteration)
        cut_csv(run_dir / EPISODES, resumed_iteration)
        self._progress = _open(self._progress_path)
        self._episodes = _open(run_dir / EPISODES)
        if self._episodes.tell() == 0:
            self._episodes.write(_csv_rows([_EPISODE_COLUMNS]))
            self._episodes.flush()
        self.warning = ""
        """What the user should be told: no TensorBoard files; empty if all is well."""
        self._events = None
        try:
            self._events = _Events(folder)
        except ImportError as error:
            self.warning = (
                f"warning: no TensorBoard files are written ({error}); "
                "install it with: pip install tensorboard"
            )

    def write(self, row: Mapping[str, float | None], episodes: Sequence[EpisodeRecord]) -> None:
        """Append one iteration; None leaves a cell empty."""
        if self._is_first_row:
            self._begin_columns(list(row))
        unknown = row.keys() - set(self._columns)
        assert not unknown, f"metrics {sorted(unknown)} were not in the session's first row"
        cells = [_cell(row.get(column)) for column in self._columns]
        self._progress.write(_csv_rows([cells]))
        if episodes:
            self._episodes.write(_csv_rows([_episode_cells(episode) for episode in episodes]))
        self._progress.flush()
        self._episodes.flush()
        if self._events is not None:
            self._events.write(int(row["timesteps"] or 0), row, purge=self._is_first_row)
        self._is_first_row = False

    def _begin_columns(self, columns: list[str]) -> None:
        """Write the header, or take over the one of the run so far.

        A resumed run may have more metrics, say of an evaluation that was switched on: their
        columns are added at the right, with empty cells in the rows so far.
        """
        text = self._progress_path.read_text()
        rows = list(csv.reader(io.StringIO(text)))
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
        """Wait until the rows are on the disk."""
        for file in (self._progress, self._episodes):
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._progress.close()
        self._episodes.close()
        if self._events is not None:
            self._events.close()


def _open(path: Path) -> BinaryIO:
    return path.open("ab")  # flushed row by row: a killed run has all its rows


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


class _Events:
    """TensorBoard event files, written without TensorFlow even where it is installed.

    Source: the record format of TensorFlow's event files, by tensorboard's own writer; its
    EventFileWriter would import TensorFlow if it is there, and costs a thread.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = event_pb2.Event
        self._session = event_pb2.SessionLog
        self._summary = summary_pb2.Summary
        folder.mkdir(exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"
        while (folder / name).exists():
            name += ".1"
        self._records = RecordWriter((folder / name).open("wb"))
        self._add(self._event(wall_time=now, file_version="brain.Event:2"))

    def write(self, timesteps: int, row: Mapping[str, float | None], purge: bool) -> None:
        """Add a point at ``timesteps`` to each curve; purge hides points from there on."""
        now = time.time()
        if purge:
            start = self._session(status=self._session.START)
            self._add(self._event(wall_time=now, step=timesteps, session_log=start))
        values = [
            self._summary.Value(tag=_tag(name), simple_value=value)
            for name, value in row.items()
            if value is not None and name not in ("iteration", "timesteps")
        ]
        self._add(self._event(wall_time=now, step=timesteps, summary=self._summary(value=values)))
        self._records.flush()

    def _add(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def close(self) -> None:
        self._records.close()


def _tag(column: str) -> str:
    if column.endswith(("return", "length", "episodes")):
        return f"episodes/{column}"
    return f"time/{column}" if "second" in column else f"learning/{column}"
