"""The results of a search: one row for each trial, best first, as CSV, Markdown and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from ppo_mpi.experiments.statistics import Estimate, mean_over_seeds
from ppo_mpi.modes.intervals import standard_error
from ppo_mpi.storage.durable import explained, write_atomically
from ppo_mpi.sweeps.search_file import Search
from ppo_mpi.sweeps.trials import Books, Trial

Status = Literal["finished", "unmeasured", "stopped", "failed", "begun", "new"]
ORDER: tuple[Status, ...] = ("finished", "stopped", "begun", "new", "unmeasured", "failed")
SHOWN_ROWS = 20
"""Rows on the console; the files have all."""
MOST_LETTERS = 60
"""Of a cell on the console."""
WIDTH = 200
"""Of what is printed, where that is no terminal."""


@dataclass(frozen=True)
class Row:
    """What one trial has brought."""

    trial: Trial
    status: Status
    scores: Mapping[int, float]
    """Seed -> the metric, of finished runs."""
    timesteps: int
    """Of all its runs so far."""
    stopped_at: int | None = None
    """Timesteps of each run at which it was stopped."""
    stopped_value: float | None = None
    """What it was stopped for."""
    reason: str = ""
    """Why it failed."""
    rank: int | None = None
    """From 1, among the finished ones."""

    @property
    def estimate(self) -> Estimate:
        """Return the mean over its seeds with Student's 95 % interval."""
        if not self.scores:
            return Estimate(math.nan, None, None)
        return mean_over_seeds(np.array([*self.scores.values()]))


def row_of(search: Search, trial: Trial, books: Books) -> Row:
    """Return what is known of a trial, from the folders of its runs."""
    statuses = [books.status(run) for run in trial.runs]
    facts = [books.read(run) for run in trial.runs]
    values = {
        run.seed: search.metric.of_run(run.folder)
        for run, status in zip(trial.runs, statuses, strict=True)
        if status == "finished"
    }
    scores = {seed: value for seed, value in values.items() if value is not None}
    failures = [str(known["failure"]) for known in facts if "failure" in known]
    status: Status
    stopped_at = stopped_value = None
    if trial.refusal or "failed" in statuses:
        status = "failed"
    elif len(scores) == len(trial.runs):
        status = "finished"
    elif len(values) == len(trial.runs):
        status = "unmeasured"
    elif "stopped" in statuses:
        status, known = "stopped", facts[statuses.index("stopped")]
        stopped_at, stopped_value = known["stopped_at"], known.get("value")
    else:
        status = "new" if set(statuses) == {"new"} else "begun"
    timesteps = sum(run.timesteps_done() for run in trial.runs)
    reason = trial.refusal or "; ".join(dict.fromkeys(failures))
    return Row(trial, status, scores, timesteps, stopped_at, stopped_value, reason)


def ranked(search: Search, rows: Sequence[Row]) -> list[Row]:
    """Return the rows, finished ones by their mean, then those that were stopped latest and best.

    Only trials of which all runs are finished have a rank: means over fewer seeds are not
    compared with means over all.
    """
    sign = -1.0 if search.maximizes else 1.0

    def place(row: Row) -> tuple[float, ...]:
        first, value = 0.0, 0.0
        if row.status == "finished":
            value = sign * row.estimate.value
        elif row.status == "stopped":
            first = -float(row.stopped_at or 0)
            value = math.inf if row.stopped_value is None else sign * row.stopped_value
        return ORDER.index(row.status), first, value, row.trial.number

    found = sorted(rows, key=place)
    return [
        Row(**(vars(row) | {"rank": k + 1})) if row.status == "finished" else row
        for k, row in enumerate(found)
    ]


def describe(search: Search, row: Row) -> dict[str, Any]:
    """Return a row for files: numbers as they are, None for what is not there."""
    estimate = row.estimate
    error = standard_error(np.array([*row.scores.values()]))[0] if row.scores else None
    return {
        "rank": row.rank,
        "trial": row.trial.number,
        "status": row.status,
        **{name: ",".join(words) for name, words in row.trial.values.items()},
        "mean": estimate.value if row.scores else None,
        "standard_error": error,
        "low": estimate.low,
        "high": estimate.high,
        "runs": len(row.scores),
        "timesteps": row.timesteps,
        "stopped_at": row.stopped_at,
        "stopped_value": row.stopped_value,
        "reason": row.reason,
    }


def write_tables(
    search: Search, rows: Sequence[Row], shares: Mapping[str, float], folder: Path, label: str
) -> list[Path]:
    """Write results.csv, results.md and results.json; return the files.

    Args:
        search: what was asked for.
        rows: as ``ranked`` has them.
        shares: setting -> its importance; {} where that cannot be told.
        folder: is made.
        label: the search's name.
    """
    described = [describe(search, row) for row in rows]
    document = {
        "sweep": label,
        "method": search.method,
        "metric": search.metric.label,
        "goal": search.goal,
        "seeds": list(search.seeds),
        "importance": dict(shares),
        "trials": [
            {
                **known,
                "scores": {str(seed): score for seed, score in row.scores.items()},
                "folders": [str(run.folder) for run in row.trial.runs],
                "command": command_of(row.trial),
            }
            for row, known in zip(rows, described, strict=True)
        ],
    }
    contents = {
        "results.csv": as_csv(described),
        "results.md": as_markdown(search, described, shares, label),
        "results.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
    }
    with explained("write the results", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            write_atomically(folder / name, text.encode())
    return [folder / name for name in contents]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV; None is an empty cell."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def as_markdown(
    search: Search, rows: Sequence[Mapping[str, Any]], shares: Mapping[str, float], label: str
) -> str:
    """Return rows as a table that people read."""
    names = [parameter.name for parameter in search.parameters]
    head = ["rank", "trial", *names, search.metric.label, "95 % interval", "runs", "status"]
    lines = [f"# {label}", "", " | ".join(["", *head, ""]).strip()]
    lines.append("|" + " --- |" * len(head))
    for row in rows:
        cells = [row["rank"] or "", row["trial"], *(row[name] for name in names)]
        cells += [number(row["mean"]), interval(row), row["runs"], note(row)]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    total = sum(row["timesteps"] for row in rows)
    seeds = ", ".join(map(str, search.seeds))
    lines += ["", f"{search.goal.capitalize()}d: {search.metric.label}, mean over the seeds "
              f"{seeds}; Student's 95 % interval. {total:,} timesteps in all."]  # fmt: skip
    if shares:
        told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
        lines += ["", f"What the differences come from (fANOVA): {told}."]
    return "\n".join(lines) + "\n"


def print_table(search: Search, rows: Sequence[Row]) -> None:
    """Print the best rows, and what is to be said of the others."""
    names = [parameter.name for parameter in search.parameters]
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=None, pad_edge=False)
    head = ["rank", "trial", *names, search.metric.label, "95 % interval", "runs", "status"]
    for name in head:
        table.add_column(name, justify="left" if name in (*names, "status") else "right")
    for row in [describe(search, row) for row in rows[:SHOWN_ROWS]]:
        cells = [row["rank"] or "", row["trial"], *(row[name] for name in names)]
        cells += [number(row["mean"]), interval(row), row["runs"], note(row)]
        table.add_row(*(str(cell)[:MOST_LETTERS] for cell in cells))
    console.print(table)
    if len(rows) > SHOWN_ROWS:
        print(f"and {len(rows) - SHOWN_ROWS} more")
    if rows and rows[0].rank:
        print(f"best: {command_of(rows[0].trial)}")


def number(value: float | None) -> str:
    """Return a number with four digits that count; "" for None."""
    return "" if value is None else f"{value:.4g}"


def interval(row: Mapping[str, Any]) -> str:
    """Return a row's interval, of several runs."""
    return "" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}"


def note(row: Mapping[str, Any]) -> str:
    """Return a row's status, and why."""
    if row["status"] == "stopped":
        value = row["stopped_value"]
        return f"stopped at {row['stopped_at']:,} with {number(value) or 'no value'}"
    return f"{row['status']}: {row['reason']}" if row["reason"] else str(row["status"])


def command_of(trial: Trial) -> str:
    """Return the line that trains with a trial's settings, outside of the search."""
    if not trial.runs:
        return ""
    words = list(trial.runs[0].words)
    end = words.index("--checkpoint-dir")  # behind it stands what is the search's own
    return shlex.join(["python", "-m", "ppo_mpi", *words[:end]])
