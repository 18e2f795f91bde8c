"""The figure of plot: learning curves with their intervals, one picture for each environment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppo_mpi.reports.figures import BLUE, DARK_GREY, GREEN, LIGHT_GREY, ORANGE, STYLE, VERMILION
from ppo_mpi.reports.panels import PUBLISHED, RETURNS, Line, Panel, Reference

COLORS = (BLUE, VERMILION, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#000000", "#F0E442")
"""Of groups; Okabe and Ito 2008, in the order in which they are told apart best."""
DASHES = {"mean_return": "-", "test_mean_return": (0, (4, 1.6)), "eval_mean_return": ":"}
REFERENCE_COLORS = {"mean_return": DARK_GREY, "test_mean_return": LIGHT_GREY}
COLUMNS = 4
PANEL = (3.0, 2.1)
"""Width and height of a picture where there are several, in inches."""
ALONE = (5.6, 3.1)
"""Likewise, of a single one."""
MANY_POINTS = 300
"""From here on a curve is drawn thinner."""
LETTER, LEGEND_LINE = 0.06, 0.19
"""Width of a letter and height of a line of the legend, in inches."""


def draw_panels(plt: Any, panels: Sequence[Panel], x: str, title: str) -> Any:
    """Return the figure.

    Args:
        plt: matplotlib's pyplot, as ``plotting`` returns it.
        panels: at least one.
        x: ``timesteps`` or ``hours``.
        title: empty says the environment, where there is one.
    """
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    colors = {label: COLORS[k % len(COLORS)] for k, label in enumerate(labels)}
    columns = min(COLUMNS, len(panels) if len(panels) < 4 else math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / columns)
    width, height = ALONE if len(panels) == 1 else PANEL
    names_env = len({panel.env for panel in panels}) > 1
    with plt.rc_context(STYLE | {"font.size": 9.0, "figure.dpi": 200}):
        figure, grid = plt.subplots(
            rows, columns, figsize=(width * columns, height * rows), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        figure.get_layout_engine().set(hspace=0.08, wspace=0.06)
        unit, word = x_unit(panels, x)
        for axes, panel in zip(grid.flat, panels, strict=False):
            draw_panel(axes, panel, colors, unit, x)
            axes.set_xlabel(word)
            axes.set_ylabel(panel.y_words)
            axes.set_title(panel.env.partition(":")[2] if names_env else "")
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        shown = title or ("" if names_env else panels[0].env)
        if shown:
            figure.suptitle(plain(shown), fontsize=10)
        _legend(figure, list(grid.flat)[: len(panels)])
    return figure


def plain(text: str) -> str:
    """Return a text of the user's in which nothing is a formula."""
    return text.replace("$", r"\$")


def x_unit(panels: Sequence[Panel], x: str) -> tuple[float, str]:
    """Return what horizontal values are divided by, and what the axis says."""
    end = max((float(line.curve.x[-1]) for panel in panels for line in panel.lines), default=0.0)
    if x == "hours":
        units = ((1.0, "hours"), (1 / 60, "minutes"), (1 / 3600, "seconds"))
        return next((own for own in units if end >= 2 * own[0]), units[-1])
    if end >= 1e6:
        return 1e6, "timesteps (M)"
    return (1e3, "timesteps (k)") if end >= 1e4 else (1.0, "timesteps")


def draw_panel(axes: Any, panel: Panel, colors: dict[str, str], unit: float, x: str) -> None:
    """Draw one picture: references behind, then bands, then curves."""
    ends = [float(line.curve.x[-1]) for line in panel.lines]
    ends += [float(places[-1]) for line in panel.lines for places, _ in line.ends]
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    if not panel.lines:
        axes.text(0.5, 0.5, "no values yet", transform=axes.transAxes, ha="center", color="0.5")
        return
    for reference in panel.references:
        draw_reference(axes, reference, max(ends), unit)
    several = len({line.column for line in panel.lines}) > 1
    for line in panel.lines:
        draw_line(axes, line, colors[line.label], unit, several)
    axes.set_xlim(0, max(ends) / unit * 1.01)
    axes.set_ylim(*y_limits(panel, max(ends)))
    axes.ticklabel_format(axis="y", useOffset=False)


def draw_line(axes: Any, line: Line, color: str, unit: float, several: bool) -> None:
    """Draw a group's mean, its interval, and how single runs went on."""
    curve, dash = line.curve, DASHES.get(line.column, "-")
    places = curve.x / unit
    kind = RETURNS.get(line.column, "") if several else ""
    counted = "1 run" if curve.runs == 1 else f"{curve.runs} runs, 95 % interval"
    label = plain(", ".join(filter(None, (line.label, kind))))
    label = f"{label} ({counted})" if label else counted
    if curve.runs > 1:
        axes.fill_between(places, curve.mean - curve.half, curve.mean + curve.half, color=color,
                          alpha=0.16, linewidth=0)  # fmt: skip
    mark = "o" if len(places) == 1 else None
    thin = {"linewidth": 1.0} if len(places) > MANY_POINTS else {}
    axes.plot(places, curve.mean, color=color, linestyle=dash, marker=mark, markersize=4,
              label=label, **thin)  # fmt: skip
    for x, y in line.ends:
        axes.plot(x / unit, y, color=color, linestyle=dash, linewidth=0.7, alpha=0.6)


def draw_reference(axes: Any, reference: Reference, end: float, unit: float) -> None:
    """Draw a published curve up to the end of ours, or the published end where that is near."""
    color = REFERENCE_COLORS[reference.column]
    style: dict[str, Any] = {
        "color": color,
        "linewidth": 1.1,
        "linestyle": DASHES[reference.column],
    }
    shown = reference.curve_until(end)
    if shown is not None:
        places = shown.timesteps / unit
        axes.fill_between(places, shown.mean - shown.spread, shown.mean + shown.spread,
                          color=color, alpha=0.15, linewidth=0)  # fmt: skip
        axes.plot(places, shown.mean, label=reference.words, **style)
    elif reference.is_near(end):
        axes.axhline(reference.final, label=reference.final_words, **style)


def y_limits(panel: Panel, end: float) -> tuple[float, float]:
    """Return the vertical range: all curves, and of intervals what does not flatten them.

    Student's interval of two runs is thirteen times as wide as their standard error; it may leave
    the picture at as much above and below the curves as they rise.
    """
    curves = [line.curve for line in panel.lines]
    drawn = [c.mean for c in curves] + [y for line in panel.lines for _, y in line.ends]
    for reference in panel.references:
        shown = reference.curve_until(end)
        if shown is not None:
            drawn.append(shown.mean)
        elif reference.is_near(end):
            drawn.append(np.array([reference.final]))
    values = np.concatenate(drawn)
    low, high = float(values.min()), float(values.max())
    reach = high - low
    if reach <= 1e-9 * max(abs(low), abs(high)):  # a single height, which may be rounded
        reach = abs(high) or 1.0
    bands = np.concatenate([np.concatenate([c.mean - c.half, c.mean + c.half]) for c in curves])
    low = min(low, max(float(bands.min()), low - reach / 2))
    high = max(high, min(float(bands.max()), high + reach / 2))
    margin = 0.05 * max(high - low, reach)
    return low - margin, high + margin


def _legend(figure: Any, panels: Sequence[Any]) -> None:
    """Put one legend for all pictures below them, and make room for it: ours, then others'."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        return
    labels = sorted(handles, key=lambda label: label.startswith(PUBLISHED))
    width, height = figure.get_size_inches()
    entry = LETTER * max(map(len, labels)) + 0.6
    across = max(1, min(len(labels), int(width / entry)))
    figure.set_size_inches(width, height + LEGEND_LINE * math.ceil(len(labels) / across))
    figure.legend([handles[label] for label in labels], labels, loc="outside lower center",
                  ncol=across, handlelength=2.6)  # fmt: skip
