"""Groups of runs -> what stands in each picture: mean curves, single ends, published references.

Axis: N points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ppo_mpi.reports.bands import MeanCurve, Points, mean_over_runs, running_mean
from ppo_mpi.reports.grouping import Group
from ppo_mpi.reports.published import (
    EASY_200,
    HARD_500,
    RUNS,
    TIMESTEPS,
    PublishedCurve,
    published_curves,
    published_score,
)

RETURNS = {
    "mean_return": "training",
    "test_mean_return": "held-out levels",
    "eval_mean_return": "evaluated",
}
"""Columns that stand in one picture -> what they are of."""
NEAR_END = 0.5
"""Part of the published training from which its end is a measure for a run, where that is all
that was published."""
PUBLISHED = "published"
"""How the words for what others have published begin."""
WORDS = {
    "timesteps_per_second": "timesteps / s",
    "mean_length": "mean episode length\n(timesteps)",
    "collect_seconds": "seconds collecting,\nper iteration",
    "update_seconds": "seconds updating,\nper iteration",
    "communication_seconds": "seconds communicating,\nper iteration",
    "entropy": "entropy (nats)",
    "approx_kl": "approximate KL\ndivergence (nats)",
}
"""Columns whose names alone do not say their unit."""


@dataclass(frozen=True)
class Line:
    """One group's curve in a picture."""

    label: str
    """Of the group."""
    column: str
    curve: MeanCurve
    ends: list[Points]
    """How single runs went on beyond the place where the first of the group ends."""


@dataclass(frozen=True)
class Reference:
    """What was published for a picture's game and setting."""

    words: str
    """For the legend."""
    column: str
    curve: PublishedCurve | None
    """None where only the end is known."""
    final: float
    """Mean return at the end of training."""
    timesteps: int
    """Of the whole training."""

    @property
    def final_words(self) -> str:
        """Words for the mean return at the end, where that is all that is drawn."""
        return f"{PUBLISHED} at {self.timesteps / 1e6:g}M, {RETURNS[self.column]}"

    def curve_until(self, end: float) -> PublishedCurve | None:
        """Return the curve up to where ours ends; None where there is none so far."""
        shown = self.curve.until(end) if self.curve else None
        return shown if shown is not None and len(shown.timesteps) > 1 else None

    def is_near(self, end: float) -> bool:
        """Return whether the published end alone is a measure for a run that ends there."""
        return self.curve is None and end >= NEAR_END * self.timesteps


@dataclass(frozen=True)
class Panel:
    """One picture of a figure."""

    env: str
    columns: tuple[str, ...]
    lines: list[Line]
    references: list[Reference]

    @property
    def y_words(self) -> str:
        """What the vertical axis shows."""
        if set(self.columns) <= set(RETURNS):
            return "mean return,\nlast 100 episodes"
        return WORDS.get(self.columns[0], self.columns[0].replace("_", " "))


def make_panels(
    groups: Sequence[Group], x: str, columns: Sequence[str], smooth: int, with_reference: bool
) -> list[Panel]:
    """Return a picture for each environment and each column; the returns share one.

    Args:
        groups: of runs.
        x: ``timesteps`` or ``hours``.
        columns: of progress.csv.
        smooth: rows over which each run's curve is averaged.
        with_reference: whether published returns are looked for.
    """
    together = tuple(column for column in columns if column in RETURNS)
    kinds = dict.fromkeys(together if c in RETURNS else (c,) for c in columns)
    panels = []
    for env in dict.fromkeys(group.env for group in groups):
        own = [group for group in groups if group.env == env]
        for kind in kinds:
            lines = [line for g in own for c in kind if (line := make_line(g, c, x, smooth))]
            references = references_for(own[0].runs[0].settings, kind) if with_reference else []
            panels.append(Panel(env, kind, lines, references if x == "timesteps" else []))
    return panels


def make_line(group: Group, column: str, x: str, smooth: int) -> Line | None:
    """Return a group's mean curve; None where none of its runs has a value."""
    curves = [
        (places, running_mean(values, smooth))
        for places, values in (run.curve(column, x) for run in group.runs)
        if len(places)
    ]
    if not curves:
        return None
    # The first may begin later than another one ends.
    curves = sorted(curves, key=lambda curve: -len(curve[0]))
    curve = mean_over_runs(curves)
    if not len(curve.x):
        return None
    ends = [(places[i:], values[i:]) for places, values in curves
            if (i := int(np.searchsorted(places, curve.x[-1]))) < len(places) - 1]  # fmt: skip
    return Line(group.label, column, curve, ends)


@cache
def _curves() -> Mapping[tuple[str, str, str], PublishedCurve]:
    return published_curves()


def references_for(settings: Mapping[str, str], columns: Sequence[str]) -> list[Reference]:
    """Return what was published for the game, difficulty and number of levels of a run."""
    suite, _, game = settings["env"].partition(":")
    if suite != "procgen" or settings["distribution_mode"] not in TIMESTEPS:
        return []
    mode, levels = settings["distribution_mode"], settings["num_levels"]
    setting = f"{mode}-{levels if levels != '0' else 'all'}"
    found = []
    for column, split in (("mean_return", "train"), ("test_mean_return", "test")):
        curve = _curves().get((setting, game, split))
        known = curve is not None or game in {"easy-200": EASY_200, "hard-500": HARD_500}.get(
            setting, {}
        )
        if column not in columns or not known:
            continue
        final = published_score(_curves(), setting, game, split)
        assert final is not None, f"{setting} of {game} was published"
        words = f"{PUBLISHED}, {RETURNS[column]} ({RUNS} runs ± std)"
        found.append(Reference(words, column, curve, final, TIMESTEPS[mode]))
    return found


def panel_rows(panels: Sequence[Panel], x: str) -> list[dict[str, str | float | int]]:
    """Return a row for each point of each curve, for a table of what is drawn."""
    return [
        {
            "environment": panel.env, "group": line.label, "column": line.column, x: float(place),
            "mean": float(mean), "low_95": float(mean - half) if line.curve.runs > 1 else "",
            "high_95": float(mean + half) if line.curve.runs > 1 else "", "runs": line.curve.runs,
        }
        for panel in panels
        for line in panel.lines
        for place, mean, half in zip(line.curve.x, line.curve.mean, line.curve.half, strict=True)
    ]  # fmt: skip
