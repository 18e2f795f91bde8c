"""The Procgen benchmark's figures: learning curves, scores of each game, normalized scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.experiments.benchmark_tables import SPLIT_WORDS, STATISTICS, Benchmark, amount
from ppo_mpi.experiments.statistics import mean_over_seeds
from ppo_mpi.reports.figures import (
    BLUE,
    DARK_GREY,
    LIGHT_GREY,
    STYLE,
    VERMILION,
    plotting,
    write_figure,
)
from ppo_mpi.reports.published import RUNS, TIMESTEPS

COLORS = {"train": BLUE, "test": VERMILION}
PUBLISHED_COLORS = {"train": DARK_GREY, "test": LIGHT_GREY}
MARKS = {"train": "o", "test": "s"}
COLUMNS = 4
POINTS_DRAWN = 160
"""Points of a curve in its panel; published curves are smoothed as well, over 10 iterations."""
PANEL = (2.1, 1.6)
"""Width and height of a game's curves, in inches."""


def draw_all(benchmark: Benchmark, totals: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw every figure into a folder; return the files.

    Args:
        benchmark: the results, of at least one game.
        totals: from ``aggregates``.
        folder: is there.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    plt = plotting()
    with plt.rc_context(STYLE):
        figures = {
            "curves": curves_figure(plt, benchmark),
            "scores": scores_figure(plt, benchmark),
            "aggregate": aggregate_figure(plt, benchmark, totals),
        }
        return [
            path for name, figure in figures.items() for path in write_figure(figure, folder, name)
        ]


def curves_figure(plt: Any, benchmark: Benchmark) -> Any:
    """Return the learning curves, a panel for each game, with the published ones behind."""
    columns = min(COLUMNS, len(benchmark.games))
    rows = math.ceil(len(benchmark.games) / columns)
    size = (PANEL[0] * columns + 0.6, PANEL[1] * rows + 1.35)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, sharex=True)
    panels = list(grid.flat)
    end = max(float(curve.timesteps[-1]) for own in benchmark.curves["train"].values()
              for curve in own)  # fmt: skip
    unit, word = (1e6, "million ") if end >= 1e6 else (1e3, "thousand ")
    for axes, game in zip(panels, benchmark.games, strict=False):
        for split in benchmark.splits:
            draw_published(axes, benchmark, split, game, end, unit)
        for split in benchmark.splits:
            draw_band(axes, benchmark, split, game, unit)
        axes.set_title(game)
        axes.set_xlim(0, end / unit)
        axes.margins(y=0.08)
    for axes in panels[len(benchmark.games) :]:
        axes.set_visible(False)
    for number, axes in enumerate(panels[: len(benchmark.games)]):
        # The lowest panel of each column carries the scale, also where the last row is not full.
        axes.tick_params(labelbottom=number + columns >= len(benchmark.games))
    inches = size[1]
    figure.subplots_adjust(wspace=0.3, hspace=0.4, top=1 - 1.0 / inches, bottom=0.5 / inches)
    figure.supxlabel(f"{word}timesteps", y=0.0, fontsize=9)
    words = "mean return of" + ("\n" if rows == 1 else " ") + "the last 100 episodes"
    middle = (0.5 / inches + 1 - 1.0 / inches) / 2
    figure.supylabel(words, x=0.12 - 0.55 / size[0], y=middle, fontsize=9)
    figure.suptitle(benchmark.title, y=1.0, fontsize=10)
    legend_above(figure, panels[: len(benchmark.games)], 1 - 0.22 / inches)
    return figure


def draw_band(axes: Any, benchmark: Benchmark, split: str, game: str, unit: float) -> None:
    """Draw our mean over seeds, and its interval."""
    own = benchmark.band(split, game)
    if own is None:
        return
    runs = "1 run" if own.runs == 1 else f"{own.runs} runs, 95 % interval"
    x, mean, low, high = (
        block_means(values) for values in (own.timesteps / unit, own.mean, own.low, own.high)
    )
    color = COLORS[split]
    bottom, top = plausible(mean, low, high)
    axes.fill_between(x, bottom, top, color=color, alpha=0.2, linewidth=0)
    axes.plot(x, mean, color=color, label=f"ppo_mpi, {SPLIT_WORDS[split]} ({runs})")


def block_means(values: np.ndarray) -> np.ndarray:
    """Return means of consecutive values, few enough to be told apart in a panel.

    Args:
        values: [N] float64.

    Returns:
        [M] float64, M <= POINTS_DRAWN; the values themselves if there are no more.
    """
    every = math.ceil(len(values) / POINTS_DRAWN)
    starts = np.arange(0, len(values), every)
    counts = np.diff(np.append(starts, len(values)))
    means: np.ndarray = np.add.reduceat(values, starts) / counts
    return means


def plausible(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval's bounds, cut where they would flatten the curve.

    Student's interval of two runs is thirteen times as wide as their standard error: it is cut at
    as much above and below the curve as the curve itself rises.
    """
    reach = max(float(np.ptp(mean)), 1e-9)
    return np.maximum(low, mean.min() - reach), np.minimum(high, mean.max() + reach)


def draw_published(
    axes: Any, benchmark: Benchmark, split: str, game: str, end: float, unit: float
) -> None:
    """Draw the published curve up to the end of ours; the final mean where there is no curve."""
    curve = benchmark.published.get((benchmark.setting, game, split))
    if curve is None:
        final = benchmark.published_final(split, game)
        # Beside runs that are much shorter it would only flatten their curves.
        if final is not None and not benchmark.is_short:
            axes.axhline(final, color=PUBLISHED_COLORS[split], linestyle=":", linewidth=1.1,
                         label=f"published final mean, {SPLIT_WORDS[split]}")  # fmt: skip
        return
    shown = curve.until(1.02 * end)
    if len(shown.timesteps) < 2:  # it begins later than ours ends
        return
    x, color = shown.timesteps / unit, PUBLISHED_COLORS[split]
    low, high = shown.mean - shown.spread, shown.mean + shown.spread
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    label = f"published, {SPLIT_WORDS[split]} ({RUNS} runs ± std)"
    axes.plot(x, shown.mean, color=color, linestyle="--", linewidth=1.1, label=label)


def legend_above(figure: Any, panels: Sequence[Any], y: float) -> None:
    """Put one legend for all panels between title and panels."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    columns = max(1, min(3, len(panels) - 1))
    figure.legend(
        handles.values(), handles.keys(), loc="upper center", ncol=columns,
        bbox_to_anchor=(0.5, y),
    )  # fmt: skip


def scores_figure(plt: Any, benchmark: Benchmark) -> Any:
    """Return final scores, normalized, a line for each game: ours filled, published hollow."""
    games = benchmark.games
    size = (6.2, 0.28 * len(games) + 1.5)
    figure, axes = plt.subplots(figsize=size)
    labelled: set[str] = set()
    end = amount(TIMESTEPS[benchmark.mode])
    for row, game in enumerate(reversed(games)):
        for shift, split in zip((0.13, -0.13), benchmark.splits, strict=False):
            published = benchmark.published_final(split, game)
            if published is not None:
                label = f"published at {end}, {SPLIT_WORDS[split]}"
                axes.plot(
                    benchmark.normalize(game, published), row + shift, MARKS[split],
                    markerfacecolor="white", markeredgecolor=PUBLISHED_COLORS[split],
                    markersize=5, label=None if label in labelled else label,
                )  # fmt: skip
                labelled.add(label)
            finals = benchmark.finals(split, game)
            if not len(finals):
                continue
            own = mean_over_seeds(finals)
            value = benchmark.normalize(game, own.value)
            label = f"ppo_mpi at {amount(benchmark.timesteps)}, {SPLIT_WORDS[split]}"
            bounds = [value if b is None else benchmark.normalize(game, b)
                      for b in (own.low, own.high)]  # fmt: skip
            axes.plot(bounds, [row + shift] * 2, color=COLORS[split], linewidth=1, alpha=0.6)
            axes.plot(
                value, row + shift, MARKS[split], color=COLORS[split], markersize=5,
                label=None if label in labelled else label,
            )  # fmt: skip
            labelled.add(label)
    axes.set_yticks(range(len(games)), list(reversed(games)))
    axes.set_ylim(-0.6, len(games) - 0.4)
    means = [own.mean() for split in benchmark.splits for own in benchmark.normalized(split)]
    # Intervals of a few runs may reach beyond the figure; the means are always within.
    axes.set_xlim(min(-0.35, min(means) - 0.1), max(1.15, max(means) + 0.1))
    for edge in (0, 1):
        axes.axvline(edge, color="0.85", linewidth=0.8, zorder=0)
    axes.grid(axis="y", color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("normalized final score (0 and 1: the game's published range; bars: 95 %)")
    axes.set_title(benchmark.title, pad=8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def aggregate_figure(plt: Any, benchmark: Benchmark, totals: Sequence[dict[str, Any]]) -> Any:
    """Return the normalized mean and interquartile mean over all games, with intervals."""
    figure, panels = plt.subplots(1, len(STATISTICS), figsize=(6.2, 1.6), sharex=True, sharey=True)
    splits = benchmark.splits
    for axes, name in zip(panels, STATISTICS, strict=True):
        for row, split in enumerate(reversed(splits)):
            (total,) = [t for t in totals if (t["levels"], t["statistic"]) == (split, name)]
            value, color = total["normalized_score"], COLORS[split]
            if total["low"] is not None:
                axes.plot([total["low"], total["high"]], [row] * 2, color=color, linewidth=6,
                          alpha=0.3, solid_capstyle="butt")  # fmt: skip
            axes.plot(value, row, "|", color=color, markersize=13, markeredgewidth=2.2)
            shown = f"{round(value, 2) + 0.0:.2f}"  # never -0.00
            axes.annotate(shown, (value, row), (0, 10), textcoords="offset points",
                          ha="center", color=color)  # fmt: skip
            if total["published"] is not None:
                axes.plot(total["published"], row, "D", markerfacecolor="white",
                          markeredgecolor=DARK_GREY, markersize=5)  # fmt: skip
                end = f" at {amount(TIMESTEPS[benchmark.mode])}" if benchmark.is_short else ""
                words = f"published{end} {total['published']:.2f}"
                axes.annotate(words, (total["published"], row),
                              (0, -13), textcoords="offset points", ha="center",
                              color=DARK_GREY, fontsize=7)  # fmt: skip
        axes.set_title(f"{name}, {totals[0]['games']} games")
        axes.set_yticks(range(len(splits)), [SPLIT_WORDS[s] for s in reversed(splits)])
        axes.set_ylim(-0.6, len(splits) - 0.4)
        axes.margins(x=0.2)
    figure.supxlabel("normalized score (bars: 95 % interval, seeds resampled within each game)",
                     y=-0.12, fontsize=8)  # fmt: skip
    figure.suptitle(benchmark.title, y=1.14, fontsize=9)
    return figure
