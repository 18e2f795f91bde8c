"""Curves with fewer rows: as ``log_every`` would have written them. Axis: N rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ppo_mpi.storage.interval import Interval

RATE = "timesteps_per_second"
_AS_OF_NOW = (
    "iteration", "timesteps", "wall_seconds", RATE, "mean_return", "median_return", "min_return",
    "max_return", "mean_length", "num_episodes", "test_mean_return", "test_mean_length",
    "test_num_episodes",
)  # fmt: skip
"""Columns that say how things stand at the end of a row; those of single games have a slash."""


def thinned(columns: Mapping[str, np.ndarray], most: int) -> dict[str, np.ndarray]:
    """Return curves of at most ``most`` rows; each takes the place of equally many, its last first.

    What a row says of the time since the one before is a mean over the rows it replaces, so that
    totals of seconds stay. Nothing changes where there are few rows.

    Args:
        columns: column of progress.csv -> [N] float64; NaN where a cell is empty.
        most: rows, at least 1.
    """
    num = max((len(values) for values in columns.values()), default=0)
    stretch = math.ceil(num / most)
    if stretch <= 1:
        return dict(columns)
    # From the end, so that the last row is the last.
    ends = range(num - stretch * ((num - 1) // stretch), num + 1, stretch)
    rows = []
    begin = 0
    for end in ends:
        rows.append(_merged(columns, begin, end))
        begin = end
    return {name: np.array([row[name] for row in rows]) for name in columns}


def _merged(columns: Mapping[str, np.ndarray], begin: int, end: int) -> dict[str, float]:
    """Return rows ``begin`` to ``end`` - 1 as one."""
    interval = Interval()
    for row in range(begin, end):
        own = {name: float(values[row]) for name, values in columns.items()}
        interval.add({name: value for name, value in own.items() if not _is_as_of_now(name)})
    merged = interval.metrics()
    now = {name: float(values[end - 1]) for name, values in columns.items() if _is_as_of_now(name)}
    before = {name: float(columns[name][begin - 1]) if begin else 0.0 for name in now}
    if {"timesteps", "wall_seconds", RATE} <= now.keys():
        seconds = now["wall_seconds"] - before["wall_seconds"]
        if seconds > 0:
            now[RATE] = round((now["timesteps"] - before["timesteps"]) / seconds, 3)
    return merged | now


def _is_as_of_now(name: str) -> bool:
    return name in _AS_OF_NOW or "/" in name


def csv_text(columns: Mapping[str, np.ndarray]) -> str:
    """Return columns as progress.csv has them: whole numbers without a point, NaN as nothing."""
    rows: list[Sequence[str]] = [list(columns)]
    rows += [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    return "".join(f"{','.join(row)}\n" for row in rows)


def _cell(value: float) -> str:
    if math.isnan(value):
        return ""
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
