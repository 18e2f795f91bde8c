"""The tables of goal misgeneralization: every episode, rates with intervals, means, failures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppo_mpi.experiments.coinrun_values import mean_with_bars
from ppo_mpi.experiments.misgeneralization_pairs import PAIRS, Condition
from ppo_mpi.experiments.misgeneralization_results import (
    NOT_NUMBERS,
    ROLES,
    Rate,
    Results,
    failures_of,
    good_levels,
    past_the_spot,
    rates,
)
from ppo_mpi.experiments.statistics import mean_over_seeds
from ppo_mpi.modes.evaluation_tables import write_table
from ppo_mpi.seeding import generator
from ppo_mpi.storage.durable import write_atomically

LEFT_OUT = ("split", "same_layout_as", "same_picture", "level_complete", "timed_out", "died",
            "intended_goal", "proxy_goal", "first", "randomized", "spot_reached",
            "train_seed", "timesteps", "level", "episode", "policy_seed")  # fmt: skip
"""Columns of episodes of which a mean says nothing, or which are rates."""
RATE_COLUMNS = ("happened", "episodes", "rate", "wilson_low", "wilson_high", "mean_over_runs",
                "over_runs_low", "over_runs_high")  # fmt: skip
SHOWN = ("intended_first", "proxy_first", "neither_first", "level_complete", "useless_keys", "died",
         "timed_out")  # fmt: skip
"""Rates in the table for readers."""


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write all tables that there are episodes for, and print the rates; return the files.

    Args:
        results: of what has been trained so far.
        folder: is there.
    """
    written = []
    if results.files:
        write_atomically(folder / "episodes.csv", all_episodes(results).encode())
        tables = {"rates.csv": rate_rows(results), "means.csv": mean_rows(results)}
        failed = failure_rows(results)
        if failed:
            tables["failures.csv"] = failed
        for name, rows in tables.items():
            write_table(str(folder / name), rows)
        text = markdown(results, tables["rates.csv"])
        print(text)
        write_atomically(folder / "rates.md", text.encode())
        document = {"title": results.title, **{name[:-4]: rows for name, rows in tables.items()}}
        write_atomically(folder / "summary.json", json.dumps(document, indent=1).encode() + b"\n")
        written = [folder / name for name in ("episodes.csv", *tables, "rates.md", "summary.json")]
    values = value_rows(results)
    if values:
        write_table(str(folder / "values.csv"), values)
        written.append(folder / "values.csv")
    return written


def all_episodes(results: Results) -> str:
    """Return evaluate's tables of all runs as one, with what each row belongs to in front."""
    columns: dict[str, None] = {}
    for path in [path for paths in results.files.values() for path in paths]:
        with path.open(encoding="utf-8", newline="") as file:
            columns |= dict.fromkeys(next(csv.reader(file)))
    text = io.StringIO()
    table = csv.DictWriter(
        text, ("pair", "setting", "value", "role", *columns), lineterminator="\n"
    )
    table.writeheader()
    for condition, role in parts(results):
        shared = named(condition) | {"role": role}
        for path in results.files[condition.group, role]:
            with path.open(encoding="utf-8", newline="") as file:
                table.writerows(shared | row for row in csv.DictReader(file))
    return text.getvalue()


def parts(results: Results) -> Iterator[tuple[Condition, str]]:
    """Yield each condition with each of its evaluations that were made."""
    for condition in results.conditions:
        for role in ROLES:
            if (condition.group, role) in results.files:
                yield condition, role


def named(condition: Condition) -> dict[str, str]:
    """Return what says of which condition a row is."""
    return {"pair": condition.pair, "setting": condition.setting, "value": condition.value}


def env_of(condition: Condition, role: str) -> str:
    """Return the environment of an evaluation."""
    pair = PAIRS[condition.pair]
    return pair.test if role == "test" else pair.train


def rate_rows(results: Results) -> list[dict[str, Any]]:
    """Return a row for everything that happens or not, in each environment and condition."""
    return [
        named(condition)
        | {"role": role, "env": env_of(condition, role), "what": name}
        | rate_cells("", own)
        for condition, role in parts(results)
        for name, own in rates(results.played(condition, role)).items()
    ]


def rate_cells(prefix: str, rate: Rate | None) -> dict[str, float | None]:
    """Return a rate's columns; empty cells where there is none."""
    cells: tuple[float | None, ...] = (None,) * len(RATE_COLUMNS)
    if rate is not None:
        own, runs = rate.estimate, rate.over_runs
        cells = (rate.successes, rate.episodes, own.value, own.low, own.high,
                 runs.value, runs.low, runs.high)  # fmt: skip
    return {prefix + name: cell for name, cell in zip(RATE_COLUMNS, cells, strict=True)}


def mean_rows(results: Results) -> list[dict[str, Any]]:
    """Return a row for each number that episodes tell, with its mean over the runs' means."""
    rows = []
    for condition, role in parts(results):
        played = results.played(condition, role)
        names = [n for n in dict.fromkeys(n for own in played for n in own)
                 if n not in (*LEFT_OUT, *NOT_NUMBERS)]  # fmt: skip
        for name in names:
            told = [own[name] for own in played if name in own and not np.isnan(own[name]).any()]
            if not told:
                continue
            estimate = mean_over_seeds(np.array([own.mean() for own in told]))
            rows.append(
                named(condition)
                | {"role": role, "env": env_of(condition, role), "what": name, "runs": len(told)}
                | {"mean": estimate.value, "low": estimate.low, "high": estimate.high}
            )
    return rows


def failure_rows(results: Results) -> list[dict[str, Any]]:
    """Return a row for each condition: both kinds of failures, and what the vanilla agents do."""
    rows = []
    for condition in results.conditions:
        if not (results.played(condition, "train") or results.played(condition, "test")):
            continue
        failed = failures_of(results, condition)
        vanilla = results.vanilla(condition)
        good = good_levels(vanilla)
        past = None if good is None else past_the_spot(vanilla, good)
        rows.append(
            named(condition)
            | {"good_levels": failed.levels}
            | rate_cells("objective_", failed.objective)
            | rate_cells("iid_", failed.iid)
            | {"vanilla_past_the_spot": None if past is None else past.estimate.value}
        )
    return rows


def value_rows(results: Results) -> list[dict[str, Any]]:
    """Return a row for each place, with a coin in view and without: the mean over all levels.

    The levels of several runs count together; the bars are 5 to 95 % of their bootstrap.
    """
    rows = []
    for condition in results.conditions:
        runs = results.values.get(condition.group, ())
        for place, is_seen in runs[0] if runs else ():
            values = np.concatenate([own[place, is_seen] for own in runs])
            random = generator(0, f"bootstrap:{condition.group}:{place}:{is_seen}")
            mean = mean_with_bars(values, random)
            rows.append(
                named(condition)
                | {"place": place, "coin_in_view": int(is_seen), "runs": len(runs)}
                | {"scenes": len(values), "mean_value": mean.value}
                | {"bootstrap_5": mean.low, "bootstrap_95": mean.high}
            )
    return rows


def markdown(results: Results, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rates in percent, with Wilson's intervals, a line for each environment.

    Args:
        results: they belong to.
        rows: from ``rate_rows``.
    """
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["role"] != "vanilla":
            condition = Condition(row["pair"], row["setting"], row["value"])
            found.setdefault((condition.group, row["env"]), {})[row["what"]] = row
    names = [name for name in SHOWN if any(name in own for own in found.values())]
    header = ["runs", "environment", "episodes", *(name.replace("_", " ") for name in names)]
    lines = [f"{results.title}; percent of the episodes, with 95 % intervals:", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for (group, env), own in found.items():
        episodes = str(next(iter(own.values()))["episodes"])
        cells = [percent(own[name]) if name in own else "-" for name in names]
        lines.append("| " + " | ".join([group, env, episodes, *cells]) + " |")
    return "\n".join(lines) + "\n"


def percent(row: Mapping[str, Any]) -> str:
    """Return a rate in percent with Wilson's interval."""
    rate, low, high = (100 * row[name] for name in ("rate", "wilson_low", "wilson_high"))
    return f"{rate:.1f} ({low:.1f} to {high:.1f})"
