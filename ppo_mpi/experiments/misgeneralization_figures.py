"""The figures of goal misgeneralization: curves, what came first, failures over a sweep, values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.experiments.benchmark_figures import block_means, plausible
from ppo_mpi.experiments.misgeneralization_pairs import PAIRS, Condition
from ppo_mpi.experiments.misgeneralization_results import Results, rates
from ppo_mpi.experiments.misgeneralization_tables import failure_rows, value_rows
from ppo_mpi.experiments.results import band
from ppo_mpi.experiments.statistics import Estimate
from ppo_mpi.reports.figures import (
    BLUE,
    DARK_GREY,
    GREEN,
    LIGHT_GREY,
    ORANGE,
    STYLE,
    VERMILION,
    plotting,
    write_figure,
)

COLUMNS = 3
PANEL = (2.5, 1.7)
"""Width and height of a panel, in inches."""
SETTING_WORDS = {
    "random_percent": "Probability (%) of a level with randomized coin",
    "rand_region": "Side of the square in which the cheese lies (cells)",
    "key_penalty": "Penalty of a key (tenths of a chest's reward)",
    "num_levels": "Training levels",
}
HEADER = 1.0
"""Height of title, legend and the first panels' titles, in inches."""
NARROWEST = 5.2
"""Width that the legend needs."""
LONGEST_NAME = 14
"""Letters of an environment's name that stand in one line below its bars."""
FAILURE_SIZE = (6.0, 2.5)
"""In inches, as published."""


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw every figure that there are results for; return the files.

    Args:
        results: of what has been trained so far.
        folder: is there.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    plt, written = plotting(), []
    with plt.rc_context(STYLE):
        failed = failure_rows(results) if results.sweep else []
        values = value_rows(results)
        figures = {}
        if results.curves["train"]:
            figures["curves"] = curves_figure(plt, results)
        if results.files:
            figures["rates"] = rates_figure(plt, results)
        for pair in dict.fromkeys(row["pair"] for row in failed):
            own = [row for row in failed if row["pair"] == pair]
            figures[f"failures-{pair}"] = failures_figure(plt, own, results.title)
        if values:
            figures["values"] = values_figure(plt, values, results.title)
        for name, figure in figures.items():
            written += write_figure(figure, folder, name)
    return written


def panels_for(plt: Any, count: int) -> tuple[Any, list[Any]]:
    """Return a figure with a panel for each of ``count`` things, and the panels."""
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    height = PANEL[1] * rows + HEADER + 0.5
    width = max(NARROWEST, PANEL[0] * columns + 0.8)
    figure, grid = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(
        wspace=0.35, hspace=0.75, top=1 - HEADER / height, bottom=0.5 / height
    )  # fmt: skip
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def finish(figure: Any, panels: Sequence[Any], title: str) -> Any:
    """Put title and legend above the panels; return the figure."""
    inches = figure.get_figheight()
    figure.suptitle(title, y=1.0, fontsize=9)
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    y = 1 - (0.12 + 0.16 * len(title.splitlines())) / inches
    figure.legend(handles.values(), handles.keys(), loc="upper center", ncol=3,
                  bbox_to_anchor=(0.5, y))  # fmt: skip
    return figure


def curves_figure(plt: Any, results: Results) -> Any:
    """Return the learning curves in both environments, a panel for each condition."""
    shown = [c for c in results.conditions if c.group in results.curves["train"]]
    figure, panels = panels_for(plt, len(shown))
    for axes, condition in zip(panels, shown, strict=True):
        for role, color in (("train", BLUE), ("test", VERMILION)):
            curves = results.curves[role].get(condition.group)
            if not curves:
                continue
            own = band(curves)
            unit = 1e6 if own.timesteps[-1] >= 1e6 else 1e3
            x, mean, low, high = (
                block_means(part) for part in (own.timesteps / unit, own.mean, own.low, own.high)
            )
            axes.fill_between(x, *plausible(mean, low, high), color=color, alpha=0.2, linewidth=0)
            mark = "o" if len(x) == 1 else ""
            axes.plot(x, mean, color=color, marker=mark, label=f"{role}ed in")
            axes.set_xlabel(f"{'million' if unit > 1e3 else 'thousand'} timesteps")
        axes.set_title(condition.title)
        axes.set_xlim(left=0)
    panels[0].set_ylabel("mean return of\nthe last 100 episodes")
    return finish(figure, panels, f"{results.title} (means over runs, 95 % intervals)")


def bars_of(condition: Condition) -> list[tuple[str, str, str]]:
    """Return (rate, words, color) of the bars of a condition."""
    pair = PAIRS[condition.pair]
    if pair.has_first:
        return [
            ("intended_first", "the intended goal first", BLUE),
            ("proxy_first", "the other goal first", VERMILION),
            ("neither_first", "neither", LIGHT_GREY),
        ]
    return [
        ("level_complete", "all chests opened", GREEN),
        ("useless_keys", "keys of no use taken", VERMILION),
        ("timed_out", "out of time", LIGHT_GREY),
    ]


def rates_figure(plt: Any, results: Results) -> Any:
    """Return what came first in both environments, with Wilson's intervals."""
    shown = [
        c for c in results.conditions
        if results.played(c, "train") or results.played(c, "test")
    ]  # fmt: skip
    figure, panels = panels_for(plt, len(shown))
    for axes, condition in zip(panels, shown, strict=True):
        pair = PAIRS[condition.pair]
        for place, role in enumerate(("train", "test")):
            found = rates(results.played(condition, role))
            if "intended_first" not in found and "intended_goal" in found:
                # There is no other goal in this environment.
                found["intended_first"] = found["intended_goal"]
            for k, (name, words, color) in enumerate(bars_of(condition)):
                if name not in found:
                    continue
                own = found[name].estimate
                draw_bar(axes, place + 0.27 * (k - 1), own, color, words)
        axes.set_xticks([0, 1], [f"{broken(pair.train)}\n(trained in)", broken(pair.test)],
                        fontsize=6.5)  # fmt: skip
        axes.set_xlim(-0.5, 1.5)
        axes.set_ylim(0, 100)
        axes.set_title(goal_words(condition), fontsize=7.5)
    panels[0].set_ylabel("% of episodes")
    return finish(figure, panels, f"{results.title} (bars: 95 %, Wilson)")


def draw_bar(axes: Any, x: float, rate: Estimate, color: str, words: str) -> None:
    """Draw a rate with its interval, in percent."""
    bounds = [rate.value if bound is None else bound for bound in (rate.low, rate.high)]
    below, above = max(0.0, rate.value - bounds[0]), max(0.0, bounds[1] - rate.value)
    axes.bar(
        x, 100 * rate.value, 0.25, color=color, label=words, ecolor=DARK_GREY,
        yerr=[[100 * below], [100 * above]], error_kw={"linewidth": 0.9},
    )  # fmt: skip


def goal_words(condition: Condition) -> str:
    """Return the title of a condition's rates."""
    pair = PAIRS[condition.pair]
    return f"{condition.title}\nintended: {pair.intended}, other: {pair.proxy}"


def broken(name: str) -> str:
    """Return an environment's name in two lines if it is long."""
    first, *rest = name.rsplit("_", 2 if name.count("_") > 2 else 1)
    return f"{first}_\n{'_'.join(rest)}" if len(name) > LONGEST_NAME else name


def failures_figure(plt: Any, rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    """Return both kinds of failures over the values of a sweep, as in the published figure 2.

    Args:
        plt: matplotlib's pyplot.
        rows: from ``failure_rows``, of one pair.
        title: of the experiment.
    """
    figure, axes = plt.subplots(figsize=FAILURE_SIZE)
    setting = rows[0]["setting"]
    numbers = [Condition(row["pair"], setting, row["value"]).number for row in rows]
    for prefix, words, color, mark in (
        ("objective", "Objective Robustness Failure", BLUE, "o"),
        ("iid", "IID Robustness Failure", ORANGE, "s"),
    ):
        own = [(x, row) for x, row in zip(numbers, rows, strict=True)
               if row[f"{prefix}_rate"] is not None]  # fmt: skip
        if not own:
            continue
        x = [number for number, _ in own]
        rate, low, high = (
            np.array([100 * row[f"{prefix}_{name}"] for _, row in own])
            for name in ("rate", "wilson_low", "wilson_high")
        )
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(x, rate, color=color, marker=mark, markersize=4, label=words)
    past = rows[0]["vanilla_past_the_spot"]
    if past is not None:
        axes.axhline(100 * past, color=LIGHT_GREY, linestyle="--", linewidth=1.1,
                     label="end reached past the random place\n(trained with 0 %)")  # fmt: skip
    if not axes.get_legend_handles_labels()[0]:
        axes.text(0.5, 0.5, "no level counts", transform=axes.transAxes, ha="center")
    if setting == "num_levels" and min(numbers) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xticks(numbers, [row["value"] for row in rows])
    axes.set_xlabel(SETTING_WORDS.get(setting, setting))
    axes.set_ylabel("Frequency (%)")
    axes.set_ylim(0, 103)
    good = rows[0]["good_levels"]
    counted = f", {good} good levels" if good is not None else ", all levels"
    axes.set_title(f"{rows[0]['pair']}, {title}{counted} (bands: 95 %, Wilson)", fontsize=7.5)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def values_figure(plt: Any, rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    """Return the mean values at four places of coinrun's levels, with a coin in view and without.

    Args:
        plt: matplotlib's pyplot.
        rows: from ``value_rows``.
        title: of the experiment.
    """
    conditions = list(dict.fromkeys((r["pair"], r["setting"], r["value"]) for r in rows))
    figure, panels = panels_for(plt, len(conditions))
    for axes, key in zip(panels, conditions, strict=True):
        own = [row for row in rows if (row["pair"], row["setting"], row["value"]) == key]
        places = list(dict.fromkeys(row["place"] for row in own))
        for shift, is_seen, color, words in (
            (-0.2, 0, LIGHT_GREY, "no coin in view"), (0.2, 1, ORANGE, "coin in view")
        ):  # fmt: skip
            bars = [row for row in own if row["coin_in_view"] == is_seen]
            means = np.array([row["mean_value"] for row in bars])
            below = [row["mean_value"] - row["bootstrap_5"] for row in bars]
            above = [row["bootstrap_95"] - row["mean_value"] for row in bars]
            errors = np.maximum(0.0, [below, above])  # of equal values, rounding is left
            axes.bar(np.arange(len(places)) + shift, means, 0.38, color=color, label=words,
                     yerr=errors, ecolor=DARK_GREY, error_kw={"linewidth": 0.9})  # fmt: skip
        axes.set_xticks(range(len(places)), places, fontsize=6)
        axes.set_title(Condition(*key).title)
    panels[0].set_ylabel("mean value")
    count = rows[0]["scenes"]
    return finish(
        figure, panels, f"{title}\nvalue by place and coin, {count} scenes each (bars: 5 to 95 %)"
    )
