"""The picture of a search: the best so far, and each setting beside what it brought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.reports.figures import (
    BLUE,
    DARK_GREY,
    LIGHT_GREY,
    STYLE,
    VERMILION,
    plotting,
    write_figure,
)
from ppo_mpi.sweeps.parameters import Choices, Parameter
from ppo_mpi.sweeps.search_file import Search
from ppo_mpi.sweeps.table import Row

MOST_COLUMNS = 4
LOG_FROM = 50.0
"""Numbers of a list that are so many times apart are drawn on a logarithmic scale."""
MOST_LETTERS = 14


def draw(
    search: Search, rows: Sequence[Row], shares: Mapping[str, float], folder: Path, label: str
) -> list[Path]:
    """Draw the finished trials; return the files, none if there are none.

    Args:
        search: what was tried.
        rows: of all trials.
        shares: setting -> its importance; {} where that cannot be told.
        folder: for the files.
        label: the search's name.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    finished = sorted((row for row in rows if row.rank), key=lambda row: row.trial.number)
    if not finished:
        return []
    plt = plotting()
    panels = 1 + len(search.parameters)
    columns = min(panels, MOST_COLUMNS)
    lines = math.ceil(panels / columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            lines, columns, figsize=(2.5 * columns, 2.2 * lines), squeeze=False, sharey=True,
            layout="constrained",
        )  # fmt: skip
        places = list(axes.flat)
        draw_best(places[0], search, finished)
        for axis, parameter in zip(places[1:], search.parameters, strict=False):
            draw_parameter(axis, parameter, finished, shares.get(parameter.name))
        places[0].set_ylim(*limits([row.estimate.value for row in finished]))
        for axis in places[panels:]:
            axis.set_visible(False)
        for line in axes:
            line[0].set_ylabel(search.metric.label)
        seeds = len(search.seeds)
        each = "1 run each" if seeds == 1 else f"mean and 95 % interval of {seeds} runs"
        figure.suptitle(f"{label}: {len(finished)} trials, {each}", fontsize=9)
        return write_figure(figure, folder, "results")


def best_so_far(values: Sequence[float], maximize: bool) -> np.ndarray:
    """Return [trials] float64, the best value up to each trial."""
    best = np.maximum if maximize else np.minimum
    return np.asarray(best.accumulate(np.array(values, np.float64)))


def limits(means: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis of values: intervals of two runs may be far wider than it."""
    low, high = min(means), max(means)
    margin = 0.4 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def draw_best(axis: Any, search: Search, finished: Sequence[Row]) -> None:
    """Draw every trial in the order in which they were planned, and the best up to it."""
    numbers = [row.trial.number for row in finished]
    values = [row.estimate.value for row in finished]
    best = best_so_far(values, search.maximizes)
    axis.plot(numbers, values, "o", color=LIGHT_GREY, markersize=3.5, markeredgewidth=0)
    axis.step(numbers, best, where="post", color=BLUE)
    axis.set_xlabel("trial")
    axis.set_title("best so far", color=DARK_GREY)
    axis.xaxis.get_major_locator().set_params(integer=True)


def draw_parameter(
    axis: Any, parameter: Parameter, finished: Sequence[Row], share: float | None
) -> None:
    """Draw what each value of a setting brought, whatever the others were."""
    texts = [",".join(row.trial.values[parameter.name]) for row in finished]
    places, ticks = positions(parameter, texts)
    best = next(k for k, row in enumerate(finished) if row.rank == 1)
    for k, row in enumerate(finished):
        color = VERMILION if k == best else BLUE
        estimate = row.estimate
        if estimate.low is not None and estimate.high is not None:
            axis.plot(
                [places[k]] * 2,
                [estimate.low, estimate.high],
                color=color,
                linewidth=0.8,
                alpha=0.4,
            )
        axis.plot(places[k], estimate.value, "o", color=color, markersize=3.5, markeredgewidth=0)
    if ticks:
        axis.set_xticks(range(len(ticks)), [shortened(text) for text in ticks],
                        rotation=30 if max(map(len, ticks)) > 5 else 0)  # fmt: skip
        axis.set_xlim(-0.5, len(ticks) - 0.5)
    elif is_logarithmic(parameter, places):
        axis.set_xscale("log")
        # Within one power of ten the labels of others are all there are; else they overlap.
        is_short = max(places) / min(places) < 10
        axis.tick_params(axis="x", which="minor", labelbottom=is_short, labelrotation=45)
    axis.set_xlabel(parameter.name)
    if share is not None:
        axis.set_title(f"explains {100 * share:.0f} %", color=DARK_GREY)


def positions(parameter: Parameter, texts: Sequence[str]) -> tuple[list[float], list[str]]:
    """Return where values stand on the axis, and the labels where these are words."""
    try:
        return [float(text) for text in texts], []
    except ValueError:
        known = [",".join(words) for words in parameter.listed()]
        return [float(known.index(text)) for text in texts], known


def is_logarithmic(parameter: Parameter, places: Sequence[float]) -> bool:
    """Return whether numbers are drawn on a logarithmic scale."""
    if not isinstance(parameter, Choices):
        return parameter.is_log
    return min(places) > 0 and max(places) / min(places) >= LOG_FROM


def shortened(text: str) -> str:
    """Return a label that fits below an axis."""
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
