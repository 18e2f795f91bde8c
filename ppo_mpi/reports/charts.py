"""Runs' columns -> the charts of a report, as data that its script draws. Axis: N rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_mpi.reports.panels import RETURNS, WORDS, references_for
from ppo_mpi.reports.run_files import RunFiles

MOST_POINTS, FEWER_POINTS = 1000, 300
"""Points of a curve in the first chart, and in the others."""
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
    """(run, rows, points drawn) where a curve has more rows than points."""


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


def make_charts(runs: Sequence[RunFiles]) -> tuple[list[Chart], list[Chart]]:
    """Return the charts that are shown at once, and those of all other columns."""
    shown = {name for names in CHARTS for name in names}
    others = dict.fromkeys(
        name for run in runs for name in run.columns if name not in (*shown, *NO_CHART)
    )
    main = [make_chart(runs, names, MOST_POINTS if k == 0 else FEWER_POINTS)
            for k, names in enumerate(CHARTS)]  # fmt: skip
    more = [make_chart(runs, (name,), FEWER_POINTS) for name in [*others][:MOST_CHARTS]]
    return [c for c in main if c.series], [c for c in more if c.series]


def make_chart(runs: Sequence[RunFiles], columns: Sequence[str], most: int) -> Chart:
    """Return a chart of columns that share an axis; without series where nothing is known."""
    series: list[dict[str, Any]] = []
    thinned = []
    for number, run in enumerate(runs):
        for kind, column in enumerate(columns):
            places, values = run.curve(column, "timesteps")
            if not len(values):
                continue
            kept = thin(values, most)
            hours = np.interp(places, *_known_hours(run))
            series.append({
                "run": number, "kind": kind, "name": RETURNS.get(column, "") if kind < 3 else "",
                "t": [int(t) for t in places[kept]], "h": _short(hours[kept]),
                "v": _short(values[kept]),
            })  # fmt: skip
            if len(kept) < len(values):
                thinned.append((run.name, len(values), len(kept)))
    name = columns[0]
    title = TITLES.get(tuple(columns), WORDS.get(name, name.replace("_", " ")).replace("\n", " "))
    if series and set(columns) & set(RETURNS):
        series += _published(runs, columns)
    return Chart(title[:1].upper() + title[1:], series, thinned)


def _known_hours(run: RunFiles) -> tuple[np.ndarray, np.ndarray]:
    places, seconds = run.curve("wall_seconds", "timesteps")
    return (places, seconds / 3600) if len(places) else (np.zeros(1), np.zeros(1))


def _published(runs: Sequence[RunFiles], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return published curves of the runs' one game, up to where the runs have come."""
    keys = ("env", "distribution_mode", "num_levels")
    if len({tuple(run.settings[key] for key in keys) for run in runs}) > 1:
        return []
    end = max(float(run.curve("timesteps", "timesteps")[0][-1]) for run in runs
              if len(run.curve("timesteps", "timesteps")[0]))  # fmt: skip
    found: list[dict[str, Any]] = []
    for reference in references_for(runs[0].settings, columns):
        if reference.curve is None or len(own := reference.curve.until(1.02 * end).timesteps) < 2:
            continue
        curve = reference.curve.until(float(own[-1]))
        kept = thin(curve.mean, FEWER_POINTS)
        found.append({
            "run": -1, "kind": columns.index(reference.column), "name": reference.words,
            "t": [int(t) for t in curve.timesteps[kept]], "h": None, "v": _short(curve.mean[kept]),
        })  # fmt: skip
    return found


def _short(values: np.ndarray) -> list[float]:
    """Return numbers of five digits, which is more than a screen shows."""
    return [float(f"{value:.5g}") for value in values.tolist()]


def time_shares(columns: Mapping[str, np.ndarray]) -> list[tuple[str, float]]:
    """Return (what, seconds) of all iterations, mean over ranks: where the time went.

    Args:
        columns: of progress.csv, each row the mean of the iterations since the one before
            (log_every). Seconds of communication are a part of updating, and told apart here.
    """
    iterations = np.diff(columns.get("iteration", np.zeros(0)), prepend=0.0)

    def total(name: str) -> float:
        seconds = columns.get(name)
        return 0.0 if seconds is None else float(np.nansum(seconds * iterations))

    wall = columns.get("wall_seconds", np.zeros(0))
    wall = wall[np.isfinite(wall)]
    collect, update, waiting = (total(f"{n}_seconds") for n in
                                ("collect", "update", "communication"))  # fmt: skip
    if not len(wall) or not collect + update:
        return []
    rest = max(0.0, float(wall[-1]) - collect - update)
    shares = [("collecting", collect), ("updating", max(0.0, update - waiting)),
              ("communicating", waiting), ("evaluating, saving, logging", rest)]  # fmt: skip
    return [(name, seconds) for name, seconds in shares if math.isfinite(seconds)]
