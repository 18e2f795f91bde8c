"""Runs' columns -> the charts of a report, as data that its script draws. Axis: N rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_mpi.reports.entries import Entry
from ppo_mpi.reports.panels import RETURNS, WORDS, references_for
from ppo_mpi.reports.run_files import RunFiles
from ppo_mpi.storage.time_parts import time_parts

MOST_POINTS, FEWER_POINTS = 1000, 300
"""Points of a curve in the first chart, and in the others."""
FEW_CURVES, LEAST_POINTS = 4, 60
"""Beyond so many entries of the legend the curves share the points, down to so few."""
CHARTS = (
    tuple(RETURNS), ("mean_length", "test_mean_length", "eval_mean_length"),
    ("policy_loss",), ("value_loss",), ("entropy",), ("approx_kl",),
    ("clip_fraction",), ("explained_variance",), ("gradient_norm",), ("learning_rate",),
    ("timesteps_per_second",),
)  # fmt: skip
"""What is drawn at once; the other columns stand folded below."""
TITLES = {
    tuple(RETURNS): "Mean return of the last 100 episodes",
    CHARTS[1]: "Mean episode length (timesteps)",
    ("timesteps_per_second",): "Speed (timesteps / s)",
}
NO_CHART = ("iteration", "timesteps", "wall_seconds")
MOST_CHARTS = 60
"""Columns that are drawn at most; a run with many games has hundreds."""


@dataclass(frozen=True)
class Chart:
    """One chart: its title, and its series as JSON has them."""

    title: str
    series: list[dict[str, Any]]
    thinned: list[tuple[str, int, int]]
    """(entry, rows, points drawn) where a curve has more rows than points."""


def thin(values: np.ndarray, most: int) -> np.ndarray:
    """Return which rows to draw so that no peak is lost: the lowest and highest of each stretch.

    Args:
        values: [N] float64, finite.
        most: points at most, at least 4.

    Returns:
        [M] int64, rising, M <= most; the first and the last row are among them.
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(0, count, (most - 2) // 2 + 1).astype(int)
    kept = {0, count - 1}
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        kept |= {low + int(values[low:high].argmin()), low + int(values[low:high].argmax())}
    return np.array(sorted(kept))


def make_charts(entries: Sequence[Entry]) -> tuple[list[Chart], list[Chart]]:
    """Return the charts that are shown at once, and those of all other columns.

    Args:
        entries: of the legend; a series names its entry by the place in them.
    """
    shown = {name for names in CHARTS for name in names}
    runs = [run for entry in entries for run in entry.group.runs]
    others = dict.fromkeys(
        name for run in runs for name in run.columns if name not in (*shown, *NO_CHART)
    )
    main = [make_chart(entries, names, MOST_POINTS if k == 0 else FEWER_POINTS)
            for k, names in enumerate(CHARTS)]  # fmt: skip
    fewest = FEWER_POINTS // min(FEW_CURVES, len(entries))  # there are many, and few are opened
    more = [make_chart(entries, (name,), fewest) for name in [*others][:MOST_CHARTS]]
    return [c for c in main if c.series], [c for c in more if c.series]


def make_chart(entries: Sequence[Entry], columns: Sequence[str], most: int) -> Chart:
    """Return a chart of columns that share an axis; without series where nothing is known.

    Args:
        entries: of the legend.
        columns: of progress.csv.
        most: points of a curve; fewer where there are many curves.
    """
    most = max(LEAST_POINTS, most * min(FEW_CURVES, len(entries)) // len(entries))
    series: list[dict[str, Any]] = []
    thinned = []
    for number, entry in enumerate(entries):
        for kind, column in enumerate(columns):
            curve = entry.curve(column)
            if curve is None:
                continue
            kept = thin(curve.mean, most)
            name = RETURNS.get(column, "") if kind < 3 else ""
            band = curve.half[kept] if curve.runs > 1 else None
            series.append(_series(number, kind, name, curve.x[kept], curve.mean[kept], band))
            if len(kept) < len(curve.x):
                thinned.append((entry.label, len(curve.x), len(kept)))
    name = columns[0]
    title = TITLES.get(tuple(columns), WORDS.get(name, name.replace("_", " ")).replace("\n", " "))
    if series and set(columns) & set(RETURNS):
        series += _published([run for entry in entries for run in entry.group.runs], columns)
    return Chart(title[:1].upper() + title[1:], series, thinned)


def _series(
    entry: int, kind: int, name: str, places: np.ndarray, values: np.ndarray,
    half: np.ndarray | None,
) -> dict[str, Any]:  # fmt: skip
    """Return a curve as the page's script takes it: a band of that half width, or none."""
    found = {"entry": entry, "kind": kind, "name": name,
             "t": [int(t) for t in places], "v": _short(values)}  # fmt: skip
    band = {} if half is None else {"lo": _short(values - half), "hi": _short(values + half)}
    return found | band


def _published(runs: Sequence[RunFiles], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return what was published for the runs' one game, up to where the runs have come."""
    keys = ("env", "distribution_mode", "num_levels")
    if len({tuple(run.settings[key] for key in keys) for run in runs}) > 1:
        return []
    end = max(float(run.curve("timesteps", "timesteps")[0][-1]) for run in runs
              if len(run.curve("timesteps", "timesteps")[0]))  # fmt: skip
    found: list[dict[str, Any]] = []
    for reference in references_for(runs[0].settings, columns):
        kind = columns.index(reference.column)
        curve = reference.curve_until(end)
        if curve is not None:
            kept = thin(curve.mean, FEWER_POINTS)
            found.append(_series(-1, kind, reference.words, curve.timesteps[kept],
                                 curve.mean[kept], curve.spread[kept]))  # fmt: skip
        elif reference.is_near(end):
            ends, level = np.array([0.0, end]), np.full(2, reference.final)
            found.append(_series(-1, kind, reference.final_words, ends, level, None))
    return found


def _short(values: np.ndarray) -> list[float]:
    """Return numbers of five digits, which is more than a screen shows."""
    return [float(f"{value:.5g}") for value in values.tolist()]


def time_shares(columns: Mapping[str, np.ndarray]) -> list[tuple[str, float]]:
    """Return (part, seconds) of all iterations, mean over ranks: where the time went.

    The parts are those of the panel, ``time_parts``; what the run's clock has beside them (the
    start, checkpoints, evaluations) is ``other``, so that all add up to it.

    Args:
        columns: of progress.csv, each row the mean of the iterations since the one before
            (log_every).
    """
    iterations = np.diff(columns.get("iteration", np.zeros(0)), prepend=0.0)
    totals = {
        name: float(np.nansum(seconds * iterations))
        for name, seconds in columns.items()
        if name.endswith("_seconds") and name != "wall_seconds" and np.isfinite(seconds).any()
    }
    wall = columns.get("wall_seconds", np.zeros(0))
    wall = wall[np.isfinite(wall)]
    parts = {part: seconds for part, seconds in time_parts(totals).items() if part != "other"}
    if not len(wall) or not sum(parts.values()):
        return []
    parts["other"] = max(0.0, float(wall[-1]) - sum(parts.values()))
    return [(part, seconds) for part, seconds in parts.items() if math.isfinite(seconds)]
