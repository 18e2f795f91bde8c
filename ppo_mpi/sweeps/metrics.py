"""What a search takes for good: a run's evaluation, or a column of its progress.csv."""

from __future__ import annotations

import csv
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ppo_mpi import registry
from ppo_mpi.config import TrainConfig
from ppo_mpi.errors import ConfigError
from ppo_mpi.experiments.base import Evaluation
from ppo_mpi.storage.run_folder import PROGRESS

EVALUATION = "sweep_evaluation.json"
TAIL_BYTES = 8192
"""More than a row of progress.csv takes."""

Over = Literal["last", "mean", "max", "min"]


@dataclass(frozen=True)
class Metric:
    """A number that a finished run brings."""

    column: str = ""
    """Of progress.csv; empty = the mean return of an evaluation after training."""
    over: Over = "last"
    """Of a column: its last value, the mean of its last values, or its highest or lowest."""
    last: int = 10
    """Values behind the mean."""
    levels: str = "train"
    """Of an evaluation: levels to play."""
    episodes: int = 200
    """Of an evaluation."""
    greedy: bool = False
    """Of an evaluation: whether the most probable action is taken."""

    @property
    def label(self) -> str:
        """Return its name for tables and pictures."""
        if not self.column:
            where = "" if self.levels == "train" else f" ({self.levels} levels)"
            return "evaluated return" + where
        return {"last": self.column, "mean": f"{self.column}, mean of last {self.last}"}.get(
            self.over, f"{self.over} {self.column}"
        )

    def evaluations(self) -> tuple[Evaluation, ...]:
        """Return what a finished run has to be evaluated by."""
        if self.column:
            return ()
        words = ["--levels", self.levels, "--episodes", str(self.episodes)]
        words += ["--greedy", str(self.greedy).lower(), "--compare-levels", "false"]
        return (Evaluation(EVALUATION, tuple(words)),)

    def of_run(self, folder: Path) -> float | None:
        """Return a finished run's number; None if it is not there or is no number."""
        return self._of_curve(folder) if self.column else evaluated_return(folder / EVALUATION)

    def _of_curve(self, folder: Path) -> float | None:
        values = [value for _, value in read_column(folder, self.column)]
        if not values:
            return None
        if self.over == "mean":
            return float(np.mean(values[-self.last :]))
        return {"last": values[-1], "max": max(values), "min": min(values)}[self.over]


def evaluated_return(path: Path) -> float | None:
    """Return the mean return that ``evaluate`` has written; of several games, their mean."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        games = document["games"].values() if "games" in document else [document]
        own = [next(iter(game["levels"].values()))["mean_return"] for game in games]
        value = float(np.mean([float(number) for number in own]))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None
    return value if math.isfinite(value) else None


def read_column(folder: Path, column: str) -> list[tuple[int, float]]:
    """Return (timesteps, value) of every row of a run's progress.csv in which the column is set.

    Raises:
        ConfigError: there is no such column.
    """
    try:
        text = (folder / PROGRESS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    rows = csv.DictReader(text.splitlines())
    check_column(column, list(rows.fieldnames or ()))
    found = []
    for row in rows:
        try:
            timesteps, value = int(row["timesteps"]), float(row[column])
        except (TypeError, ValueError):  # an empty cell, or a row that is just being written
            continue
        if math.isfinite(value):
            found.append((timesteps, value))
    return found


def require_column(folder: Path, column: str) -> None:
    """Refuse a column that a run's progress.csv does not have, by its first line alone.

    Raises:
        ConfigError: there is no such column.
    """
    try:
        with (folder / PROGRESS).open(encoding="utf-8", errors="replace") as file:
            header = file.readline()
    except FileNotFoundError:
        return
    if header.endswith("\n"):
        check_column(column, next(csv.reader([header]), []))


def check_column(column: str, there: list[str]) -> None:
    """Refuse a column that a progress.csv with these columns does not have."""
    if there and column not in there:
        raise ConfigError(registry.unknown_name(f"column of {PROGRESS}", column, there))


def value_at(folder: Path, column: str, timesteps: int) -> float | None:
    """Return the newest value of a column up to so many timesteps; None before the first."""
    values = [value for at, value in read_column(folder, column) if at <= timesteps]
    return values[-1] if values else None


def timesteps_reached(folder: Path) -> int:
    """Return the timesteps of the last whole row of a run's progress.csv; 0 without one."""
    try:
        with (folder / PROGRESS).open("rb") as file:
            header = file.readline()
            start = file.tell()
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start, end - TAIL_BYTES))
            lines = file.read().rpartition(b"\n")[0].splitlines()
    except FileNotFoundError:
        return 0
    names = header.decode("utf-8", "replace").strip().split(",")
    if not lines or "timesteps" not in names:
        return 0
    cells = lines[-1].split(b",")
    place = names.index("timesteps")
    return int(cells[place]) if len(cells) > place and cells[place].isdigit() else 0


def check_metric(column: str, config: TrainConfig) -> None:
    """Refuse a column that stays empty with these settings.

    Raises:
        ConfigError: nothing is evaluated or tested while such runs are trained.
    """
    job = config.job
    if column.startswith("eval_"):
        if not job.eval_every:
            raise ConfigError(
                f"the column {column} stays empty with eval_every=0; set it to the iterations "
                "between evaluations, or use metric: evaluation"
            )
        if job.eval_every > config.num_iterations:
            raise ConfigError(
                f"the column {column} stays empty: eval_every={job.eval_every} is more than the "
                f"{config.num_iterations} iterations of total_timesteps={job.total_timesteps}; use "
                f"{config.num_iterations} or less"
            )
    if column.startswith("test_") and not config.environment.num_test_envs:
        raise ConfigError(f"the column {column} stays empty with num_test_envs=0; use for example "
                          "num_test_envs=16")  # fmt: skip
