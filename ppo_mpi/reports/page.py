"""The report: one page of HTML that needs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ppo_mpi
from ppo_mpi.reports.charts import Chart, make_charts
from ppo_mpi.reports.entries import Entry, entries_of
from ppo_mpi.reports.evaluations import Gap, LevelScore
from ppo_mpi.reports.markup import Markup, escaped, joined, script_data, tag
from ppo_mpi.reports.page_script import SCRIPT
from ppo_mpi.reports.page_sections import (
    commands_section,
    comparison_section,
    evaluation_section,
    machine_section,
    settings_section,
    summary_section,
    time_section,
)
from ppo_mpi.reports.page_style import STYLE_SHEET
from ppo_mpi.reports.provenance import origin_of
from ppo_mpi.reports.run_files import RunFiles
from ppo_mpi.storage.durable import write_atomically

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
"""What a browser lets the page do: nothing from outside, and no script but its own."""


COLORS = 8
"""Of curves, in the style sheet."""
MANY_RUNS = 4
"""From here on the title counts the runs instead of naming them."""


@dataclass(frozen=True)
class Content:
    """What a report is made of."""

    runs: list[RunFiles]
    scores: list[LevelScore] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    videos: list[tuple[str, bytes]] = field(default_factory=list)
    """(what it shows, MP4)."""
    left_out: list[str] = field(default_factory=list)
    """What to say of videos that are too large."""


def make_page(content: Content) -> str:
    """Return the page.

    Args:
        content: of one run or more.
    """
    runs = content.runs
    names = ", ".join(run.name for run in runs)
    origins = [origin_of(run) for run in runs]
    entries = entries_of(runs)
    main, more = make_charts(entries)
    data = {
        "entries": [entry_data(entry) for entry in entries],
        "view": entries[0].view,
        "charts": [
            {"label": f"{chart.title} of {names}", "series": chart.series} for chart in main + more
        ],
    }
    heading = names if len(runs) < MANY_RUNS else f"{len(runs)} runs"
    title = f"{heading} - ppo_mpi report"
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    sections = [
        tag("header", tag("h1", heading), tag("p", _subtitle(runs), class_="soft")),
        tag("main", joined([
            tag("div", summary_section(runs, content.scores, entries),
                videos_section(content.videos, content.left_out), class_="top"),
            comparison_section(runs),
            curves_section(entries, main, more),
            evaluation_section(content.scores, content.gaps),
            joined(settings_section(run, origins[k], len(runs) > 1) for k, run in enumerate(runs)),
            time_section(runs),
            machine_section(runs),
            joined(commands_section(run, origins[k], len(runs) > 1) for k, run in enumerate(runs)),
        ])),
        tag("footer", tag("p", f"Written by ppo_mpi {ppo_mpi.__version__}, {now}.", class_="soft")),
    ]  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"{POLICY}script-src 'sha256-{digest}'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escaped(policy)}">'
        f"{tag('title', title)}<style>{STYLE_SHEET}</style></head>\n<body>"
        + "\n".join(sections)
        + f'\n<script type="application/json" id="data">{script_data(data)}</script>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _subtitle(runs: Sequence[RunFiles]) -> str:
    envs = ", ".join(dict.fromkeys(run.env for run in runs))
    algorithms = ", ".join(dict.fromkeys(run.settings["algorithm"] for run in runs))
    names = ": " + ", ".join(run.name for run in runs) if len(runs) >= MANY_RUNS else ""
    return f"{envs}; {algorithms}{names}"


def entry_data(entry: Entry) -> dict[str, Any]:
    """Return an entry of the legend for the page's script, with the hours of its timesteps."""
    places, hours = entry.clock()
    return {
        "label": entry.label, "view": entry.view, "t": [int(place) for place in places],
        "h": [float(f"{hour:.6g}") for hour in hours],
    }  # fmt: skip


def curves_section(
    entries: Sequence[Entry], main: Sequence[Chart], more: Sequence[Chart]
) -> Markup:
    """Return the charts with what switches them; the other columns folded."""
    if not main:
        return tag("section", tag("h2", "Curves"), tag("p", "No iteration has been logged yet."))
    view = entries[0].view
    choices = [("x", "t", "timesteps", True), ("x", "h", "hours", False),
               ("log", "linear", "linear", True), ("log", "log", "logarithmic", False)]  # fmt: skip
    if view == "means":
        choices += [("view", "means", "mean over seeds", True), ("view", "runs", "runs", False)]
    buttons = [
        tag("button", words, type="button", class_="choice", data_key=key, data_value=value,
            aria_pressed="true" if pressed else "false")
        for key, value, words, pressed in choices
    ]  # fmt: skip
    legend = [_legend_button(entries, k) for k in range(len(entries))]
    charts = joined(_figure(chart, k, wide=k == 0) for k, chart in enumerate(main))
    folded = joined(_figure(chart, k) for k, chart in enumerate(more, start=len(main)))
    others = tag("details", tag("summary", f"{len(more)} other columns of progress.csv"),
                 tag("div", folded, class_="charts")) if more else ""  # fmt: skip
    return tag(
        "section", tag("h2", "Curves"),
        tag("div", *buttons, class_="controls", role="group", aria_label="axes and curves"),
        tag("div", *legend, class_="controls legend", role="group", aria_label="curves")
        if len(entries) > 1 else "",
        tag("noscript", tag("p", "The curves are drawn by JavaScript; without it there are the "
                                 "tables below, and progress.csv.")),
        tag("div", charts, class_="charts"), others,
        *(tag("p", words, class_="soft") for words in _remarks(main)),
    )  # fmt: skip


def _legend_button(entries: Sequence[Entry], place: int) -> Markup:
    """Return what shows and hides an entry; its color counts among those of its view."""
    entry = entries[place]
    color = sum(other.view == entry.view for other in entries[:place]) % COLORS
    names = ", ".join(run.name for run in entry.group.runs)
    return tag(
        "button", tag("span", class_=f"swatch c{color}"), entry.label, type="button",
        data_entry=str(place), aria_pressed="true", title=f"show or hide {names}",
        hidden="hidden" if entry.view != entries[0].view else None,
    )  # fmt: skip


def _figure(chart: Chart, number: int, wide: bool = False) -> Markup:
    tip = tag("div", class_="tip", hidden="hidden", aria_live="polite")
    about = f"{chart.title}: values by the left and right arrow keys"
    box = tag("div", tip, class_="chart", data_chart=str(number), tabindex="0", role="group",
              aria_label=about)  # fmt: skip
    caption = tag("figcaption", chart.title)
    return tag("figure", caption, box, class_="wide" if wide else None)


def _remarks(main: Sequence[Chart]) -> list[str]:
    """Return what has to be known to read the charts."""
    words = ["Point at a curve, touch it or go along it by the arrow keys to read its values."]
    series = [s for chart in main for s in chart.series]
    kinds = {s["name"] for s in series if s["entry"] >= 0 and s["name"]}
    if len(kinds) > 1:
        words.append("Solid: training; dashed: held-out levels; dotted: evaluated.")
    if any("lo" in s for s in series if s["entry"] >= 0):
        words.append(
            "Bands: Student's 95 % interval of the mean over seeds, as far as all runs of the "
            "group have come."
        )
    published = {s["name"] for s in series if s["entry"] < 0}
    if published:
        words.append("Grey: " + "; ".join(sorted(published)) + ", Cobbe et al. 2020.")
    thinned = {what for chart in main[:1] for what in chart.thinned}
    for label, rows, points in sorted(thinned):
        words.append(
            f"{label}: {points:,} of {rows:,} rows are drawn in the first chart, fewer in the "
            "others: of each stretch the lowest and the highest."
        )
    return list(dict.fromkeys(words))


def videos_section(videos: Sequence[tuple[str, bytes]], left_out: Sequence[str]) -> Markup:
    """Return the videos, which are in the page itself."""
    if not videos and not left_out:
        return Markup("")
    shown = [
        tag("figure",
            # The fragment shows a picture before it plays, which else is left blank.
            tag("video", src=f"data:video/mp4;base64,{base64.b64encode(content).decode()}#t=0.1",
                controls="controls", loop="loop", muted="muted", playsinline="playsinline",
                preload="auto", aria_label=words),
            tag("figcaption", words))
        for words, content in videos
    ]  # fmt: skip
    notes = [tag("p", words, class_="soft") for words in left_out]
    return tag("section", tag("div", *shown, class_="videos"), *notes, aria_label="videos")


def write_page(path: Path, content: Content) -> int:
    """Write the page, old or new as a whole; return its size in bytes.

    Raises:
        OSError: it cannot be written.
    """
    page = make_page(content).encode()
    write_atomically(path, page)
    return len(page)
