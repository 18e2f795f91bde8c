"""The sections of a report beside curves and videos: tables of what a run is and has brought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ppo_mpi.config import PLACES
from ppo_mpi.reports.charts import time_shares
from ppo_mpi.reports.entries import Entry
from ppo_mpi.reports.evaluations import Gap, LevelScore
from ppo_mpi.reports.grouping import differing
from ppo_mpi.reports.lost_ranks import lost_ranks
from ppo_mpi.reports.markup import Markup, interval, joined, number, table, tag
from ppo_mpi.reports.panels import RETURNS
from ppo_mpi.reports.provenance import Origin, commands
from ppo_mpi.reports.run_files import RunFiles
from ppo_mpi.storage.run_folder import done_timesteps


def last(run: RunFiles, column: str) -> float:
    """Return the last value of a column; NaN where there is none."""
    values = run.curve(column, "timesteps")[1]
    return float(values[-1]) if len(values) else math.nan


def summary_section(
    runs: Sequence[RunFiles], scores: Sequence[LevelScore], entries: Sequence[Entry]
) -> Markup:
    """Return the figures that one looks for first: cards for one run, tables for several."""
    if len(runs) > 1:
        facts = [facts_of(run, scores) for run in runs]
        names = dict.fromkeys(name for own in facts for name in own)
        known = [name for name in names if any(own.get(name, "-") != "-" for own in facts)]
        rows = [
            [run.name, *(own.get(name, "-") for name in known)]
            for run, own in zip(runs, facts, strict=True)
        ]
        each = table(["run", *known], rows, numbers_from=2)
        return tag("section", tag("h2", "Summary"), _means_table(entries), each)
    cards = [
        tag("div", tag("dt", name), tag("dd", value), class_="card")
        for name, value in facts_of(runs[0], scores).items()
        if value != "-"
    ]
    return tag("section", tag("dl", *cards, class_="cards"))


def _means_table(entries: Sequence[Entry]) -> Markup:
    """Return the mean returns over seeds where the first run of each group ends; "" for none."""
    groups = [entry for entry in entries if entry.view == "means"]
    rows = []
    for entry in groups:
        curves = [entry.curve(column) for column in RETURNS]
        end = next((curve.x[-1] for curve in curves if curve), math.nan)
        cells = [
            "-" if curve is None
            else number(curve.mean[-1], 2) + (f" ± {number(curve.half[-1], 2)}" * (curve.runs > 1))
            for curve in curves
        ]  # fmt: skip
        rows.append([entry.label, number(end, 0), *cells])
    if not rows:
        return Markup("")
    kept = [k for k in range(len(rows[0])) if any(row[k] != "-" for row in rows)]
    head = ["group", "timesteps", *(f"mean return, {words}" for words in RETURNS.values())]
    words = "Means over seeds with Student's 95 % interval, where the first run of a group ends"
    return table([head[k] for k in kept], [[row[k] for k in kept] for row in rows], words, 1)


def facts_of(run: RunFiles, scores: Sequence[LevelScore]) -> dict[str, str]:
    """Return what to say of a run in a few words each; a dash for what is not known."""
    done = done_timesteps(run.folder)
    timesteps, seconds = last(run, "timesteps"), last(run, "wall_seconds")
    speed = timesteps / seconds if seconds > 0 else math.nan
    facts = {"state": "not finished" if done is None else "finished"}
    for column, words in RETURNS.items():
        facts[f"mean return, {words}"] = number(last(run, column), 2)
    for score in scores:
        if score.run == run.name and score.env == run.env:
            facts[f"evaluated, {score.levels}"] = number(score.number("mean_return"), 2)
    normalized = [s.number("normalized_score") for s in scores if s.run == run.name]
    known = [value for value in normalized if math.isfinite(value)]
    facts["normalized score"] = " / ".join(number(value) for value in known) or "-"
    facts |= {
        "timesteps": number(timesteps, 0),
        "hours": number(seconds / 3600, 2),
        "timesteps / s": number(speed, 0),
        "seed": run.settings["seed"],
    }
    return facts


def comparison_section(runs: Sequence[RunFiles]) -> Markup:
    """Return the settings that are not the same in all runs; nothing for one run."""
    if len(runs) < 2:
        return Markup("")
    names = [name for name in differing([run.settings for run in runs]) if name not in PLACES]
    rows = [[name, *(run.settings.get(name, "-") or "(empty)" for run in runs)] for name in names]
    shown = (
        table(["setting", *(run.name for run in runs)], rows, "Settings that differ")
        if rows
        else tag("p", "The runs have the same settings.")
    )
    return tag("section", tag("h2", "What differs"), shown)


def evaluation_section(scores: Sequence[LevelScore], gaps: Sequence[Gap]) -> Markup:
    """Return the tables of evaluations; nothing where there are none."""
    if not scores:
        return Markup("")
    head = ["run", "environment", "levels", "at timesteps", "episodes", "mean return",
            "95 % interval", "median", "lowest, highest", "mean length", "normalized"]  # fmt: skip
    rows = [
        [
            s.run, s.env, s.levels, number(s.timesteps, 0), number(s.number("episodes"), 0),
            number(s.number("mean_return")), interval(*s.pair("interval_95")),
            number(s.number("median_return"), 2),
            f"{number(s.number('min_return'), 2)}, {number(s.number('max_return'), 2)}",
            number(s.number("mean_length"), 1), number(s.number("normalized_score")),
        ]
        for s in scores
    ]  # fmt: skip
    parts = [table(head, rows, "Whole episodes of the stored policy (Student's interval)", 3)]
    if gaps:
        own = [[g.run, g.env, number(g.gap), interval(*g.welch), interval(*g.bootstrap)]
               for g in gaps]  # fmt: skip
        words = ["run", "environment", "gap", "95 % interval (Welch)", "95 % interval (bootstrap)"]
        parts.append(table(words, own, "Mean return, training minus held-out levels", 2))
    return tag("section", tag("h2", "Evaluation"), *parts)


def settings_section(run: RunFiles, origin: Origin, named: bool) -> Markup:
    """Return what differs from the preset, and all settings folded."""
    changed = origin.differences(run)
    base = f"preset {origin.preset}" if origin.preset else "the defaults"
    rows = [[name, value or "(empty)", old or "(empty)"] for name, value, old in changed]
    shown = (
        table(["setting", "this run", base], rows, f"What differs from {base}")
        if rows
        else tag("p", f"As {base}.")
    )
    everything = [[name, value or "(empty)"] for name, value in run.settings.items()]
    folded = tag("details", tag("summary", f"all {len(everything)} settings"),
                 table(["setting", "value"], everything))  # fmt: skip
    if named:
        return tag("details", tag("summary", f"Settings of {run.name}"), shown, folded)
    return tag("section", tag("h2", "Settings"), shown, folded)


PARTS = {
    "engine": "engine (waiting for the environments)",
    "policy": "policy (the network's actions, and all else while collecting)",
    "collect": "collecting",
    "update": "update (preparing the batch, learning)",
    "MPI": "MPI (sums of gradients and the like)",
    "waiting": "waiting for the slowest rank",
    "other": "other (start, rows, checkpoints, evaluations)",
}
"""Parts of the time, as ``time_parts`` names them, in words."""


def time_section(runs: Sequence[RunFiles]) -> Markup:
    """Return where the time went: a bar and a table for one run, a table for several."""
    found = [(run, time_shares(run.columns)) for run in runs]
    found = [(run, shares) for run, shares in found if shares]
    if not found:
        return Markup("")
    if len(runs) > 1:
        known = [part for part in PARTS if any(part in dict(own) for _, own in found)]
        rows = [[run.name, *_percentages(dict(own), known)] for run, own in found]
        words = "Shares of the time, mean over ranks"
        return tag("section", tag("h2", "Time"), table(["run", *known], rows, words, 1))
    ((run, shares),) = found
    if run.sessions and all(session.get("ranks") == 1 for session in run.sessions):
        shares = [(part, own) for part, own in shares if part not in ("MPI", "waiting")]
    percentages = _percentages(dict(shares), [part for part, _ in shares])
    bars = [
        tag("span", class_=f"c{k}", style=f"flex-grow:{seconds:.6g}", title=part)
        for k, (part, seconds) in enumerate(shares)
    ]
    rows = [
        [tag("span", tag("span", class_=f"swatch c{k}"), PARTS[part]), number(seconds, 1), share]
        for k, ((part, seconds), share) in enumerate(zip(shares, percentages, strict=True))
    ]
    return tag(
        "section", tag("h2", "Time"), tag("div", *bars, class_="bar", aria_hidden="true"),
        table(["what", "seconds", "share"], rows, "Seconds, mean over ranks", 1),
    )  # fmt: skip


def _percentages(shares: Mapping[str, float], parts: Sequence[str]) -> list[str]:
    """Return what part of the whole each is; a dash for one that is not known."""
    whole = sum(shares.values())
    return [f"{100 * shares[p] / whole:.1f} %" if p in shares else "-" for p in parts]


SESSION_FACTS = ("started", "ranks", "hosts", "processor", "cores_available", "platform", "python",
                 "mpi_library", "transport", "packages", "commit", "command")  # fmt: skip


def machine_section(runs: Sequence[RunFiles]) -> Markup:
    """Return on what the runs ran: a column for each start, and the ranks that were lost."""
    parts: list[Any] = []
    for run in runs:
        sessions = run.sessions[-4:]
        if not sessions:
            continue
        hidden = len(run.sessions) - len(sessions)
        head = ["", *(f"start {k + 1 + hidden}" for k in range(len(sessions)))]
        rows = [[fact.replace("_", " "), *(_said(s.get(fact)) for s in sessions)]
                for fact in SESSION_FACTS]  # fmt: skip
        about = f"The last {len(sessions)} of {len(run.sessions)} starts" if hidden else ""
        parts += [tag("h3", run.name) if len(runs) > 1 else "", table(head, rows, about)]
        lost = lost_ranks(run.folder)
        if lost:
            parts.append(table(["iteration", "ranks lost", "environments begun afresh"], lost,
                               "Ranks that were lost while it trained", 0))  # fmt: skip
    return tag("section", tag("h2", "Machine and versions"), *parts) if parts else Markup("")


def _said(value: Any) -> str:
    """Return a fact of a session in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {own}" for key, own in value.items())
    return "-" if value is None else str(value)


def commands_section(run: RunFiles, origin: Origin, named: bool) -> Markup:
    """Return the commands that repeat the run and look at it."""
    shown = joined(
        joined([tag("p", what), tag("pre", line)]) for what, line in commands(run, origin)
    )
    if named:
        return tag("details", tag("summary", f"To repeat {run.name}"), shown)
    return tag("section", tag("h2", "To repeat it"), shown)
