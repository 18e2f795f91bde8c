"""What the runs of an experiment have brought so far, read from their folders."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.reports.bands import mean_over_runs
from ppo_mpi.storage.run_folder import PROGRESS

SPLITS = {"train": "mean_return", "test": "test_mean_return"}
"""Kind of levels -> column of progress.csv: mean return of the last 100 episodes on them."""
LAST_ITERATIONS = 100
"""Iterations at the end over which a final score is averaged, as in the published figures."""
LAST_PART = 15
"""At most one part in so many of the iterations is averaged: as in the published easy runs."""


@dataclass(frozen=True)
class RunCurve:
    """One run's mean return over training, on one kind of levels."""

    timesteps: np.ndarray
    """[N] float64, rising."""
    returns: np.ndarray
    """[N] float64."""
    iterations: np.ndarray
    """[N] float64, counted from 1; a row may stand for several, by ``log_every``."""

    @property
    def final(self) -> float:
        """The mean of the rows that end within the last iterations; the last one's at least."""
        last = self.iterations[-1]
        count = max(1, min(LAST_ITERATIONS, last // LAST_PART))
        return float(self.returns[self.iterations > last - count].mean())


@dataclass(frozen=True)
class Band:
    """Mean over runs with its 95 % interval, over training."""

    timesteps: np.ndarray
    """[N] float64, up to where all runs have come."""
    mean: np.ndarray
    """[N] float64."""
    low: np.ndarray
    """[N] float64; the mean itself where there is one run."""
    high: np.ndarray
    """[N] float64."""
    runs: int


def read_curve(folder: Path, split: str) -> RunCurve | None:
    """Return a run's curve; None where no episode on such levels has ended yet."""
    try:
        text = (folder / PROGRESS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    column = SPLITS[split]
    points = [
        (float(row["timesteps"]), float(row[column]), float(row["iteration"]))
        for row in csv.DictReader(text.splitlines())
        if row.get(column)
    ]
    return RunCurve(*np.array(points).T) if points else None


def curves_by_group(runs: Iterable[PlannedRun], split: str) -> dict[str, list[RunCurve]]:
    """Return group -> the curves of its runs, of those that have one."""
    found: dict[str, list[RunCurve]] = {}
    for run in runs:
        curve = read_curve(run.folder, split)
        if curve is not None:
            found.setdefault(run.group, []).append(curve)
    return found


def band(curves: Sequence[RunCurve]) -> Band:
    """Return the mean over runs on the timesteps of the first, up to where all have come.

    Args:
        curves: at least one; those of other timesteps are interpolated linearly.
    """
    own = mean_over_runs([(curve.timesteps, curve.returns) for curve in curves])
    return Band(own.x, own.mean, own.mean - own.half, own.mean + own.half, own.runs)


def measured_speed(runs: Iterable[PlannedRun]) -> float | None:
    """Return the median speed of the runs so far, in timesteps/s; None without any."""
    speeds = []
    for run in runs:
        path = run.folder / PROGRESS
        if path.is_file():
            rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
            own = [float(r["timesteps_per_second"]) for r in rows if r.get("timesteps_per_second")]
            if own:
                speeds.append(float(np.median(own)))
    return float(np.median(speeds)) if speeds else None
