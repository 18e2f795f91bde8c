"""The Procgen benchmark's results: collected from the runs, as tables and as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ppo_mpi.envs.procgen_scores import normalized_score
from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.experiments.results import Band, RunCurve, band, curves_by_group
from ppo_mpi.experiments.statistics import (
    Estimate,
    interquartile_mean,
    mean_over_seeds,
    mean_score,
    stratified_bootstrap,
)
from ppo_mpi.modes.evaluation_tables import write_table
from ppo_mpi.reports.published import (
    TIMESTEPS,
    PublishedCurve,
    published_curves,
    published_score,
)
from ppo_mpi.seeding import generator
from ppo_mpi.settings.variants import VariantsConfig
from ppo_mpi.storage.durable import write_atomically

STATISTICS = {"mean": mean_score, "interquartile mean": interquartile_mean}
SPLIT_WORDS = {"train": "training levels", "test": "held-out levels"}
MOST_POINTS = 400
"""Points of each curve in curves.csv."""


@dataclass(frozen=True)
class Benchmark:
    """What the runs have brought, beside what was published."""

    setting: str
    timesteps: int
    """Of each run, as planned."""
    curves: Mapping[str, Mapping[str, Sequence[RunCurve]]]
    """split -> game -> the curves of its runs."""
    published: Mapping[tuple[str, str, str], PublishedCurve]
    evaluations: Mapping[str, Sequence[Mapping[str, Any]]]
    """game -> the documents that evaluate wrote of its runs."""

    @property
    def mode(self) -> str:
        """easy or hard."""
        return self.setting.partition("-")[0]

    @property
    def games(self) -> list[str]:
        """Those with a curve, in order."""
        return [*self.curves["train"]]

    @property
    def splits(self) -> list[str]:
        """``train``, and ``test`` where held-out levels were played."""
        return [split for split, games in self.curves.items() if games]

    @property
    def is_short(self) -> bool:
        """Whether the runs have less time than the published ones."""
        return self.timesteps < 0.99 * TIMESTEPS[self.mode]

    @property
    def title(self) -> str:
        """Setting and budget, for tables and figures."""
        words = f"Procgen {self.setting}, {amount(self.timesteps)} timesteps a run"
        if self.is_short:
            words += f" (published: {amount(TIMESTEPS[self.mode])})"
        return words

    def finals(self, split: str, game: str) -> np.ndarray:
        """Return [runs] float64, the runs' final mean returns."""
        return np.array([curve.final for curve in self.curves[split].get(game, ())])

    def band(self, split: str, game: str) -> Band | None:
        """Return the game's mean curve; None without runs."""
        curves = self.curves[split].get(game)
        return band(curves) if curves else None

    def published_final(self, split: str, game: str) -> float | None:
        """Return what the published runs had at the end of their time."""
        return published_score(self.published, self.setting, game, split)

    def published_now(self, split: str, game: str) -> float | None:
        """Return what the published runs had after as many timesteps as these have."""
        curve, own = self.published.get((self.setting, game, split)), self.band(split, game)
        return None if curve is None or own is None else curve.at(float(own.timesteps[-1]))

    def normalized(self, split: str) -> list[np.ndarray]:
        """Return for each game [runs] float64, normalized final scores."""
        return [
            np.array([self.normalize(game, value) for value in self.finals(split, game)])
            for game in self.games
            if len(self.finals(split, game))
        ]

    def normalize(self, game: str, score: float) -> float:
        """Return a score of a game, normalized by the published range."""
        value = normalized_score(game, self.mode, VariantsConfig(), score)
        assert value is not None, f"{game} has a range for {self.mode}"
        return value

    def published_mean(self, split: str) -> float | None:
        """Return the published normalized mean over the same games; None unless all have one."""
        scores = [(game, self.published_final(split, game)) for game in self.games]
        known = [self.normalize(game, score) for game, score in scores if score is not None]
        return float(np.mean(known)) if len(known) == len(scores) else None


def collect(setting: str, runs: Sequence[PlannedRun]) -> Benchmark:
    """Read what the runs have brought so far."""
    evaluations: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for evaluation in run.evaluations:
            path = run.folder / evaluation.file
            if path.is_file():
                document = json.loads(path.read_text(encoding="utf-8"))
                evaluations.setdefault(run.group, []).append(document)
    curves = {split: curves_by_group(runs, split) for split in ("train", "test")}
    return Benchmark(setting, runs[0].timesteps, curves, published_curves(), evaluations)


def amount(timesteps: float) -> str:
    """Return a number of timesteps as text: ``25M``, ``98k``."""
    if timesteps >= 1e6:
        return f"{timesteps / 1e6:.3g}M"
    return f"{timesteps / 1e3:.3g}k"


def game_rows(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return a row for each game: final returns, the gap, what was published."""
    rows = []
    for game in benchmark.games:
        row: dict[str, Any] = {"game": game, "runs": len(benchmark.finals("train", game))}
        for split in ("train", "test"):
            finals = benchmark.finals(split, game)
            estimate = mean_over_seeds(finals) if len(finals) else None
            row[f"{split}_return"] = estimate and estimate.value
            row[f"{split}_low"] = estimate and estimate.low
            row[f"{split}_high"] = estimate and estimate.high
            row[f"{split}_normalized"] = estimate and benchmark.normalize(game, estimate.value)
            row[f"{split}_published"] = benchmark.published_final(split, game)
            row[f"{split}_published_after_as_many"] = benchmark.published_now(split, game)
        row["gap"] = None
        if row["test_return"] is not None:
            row["gap"] = row["train_return"] - row["test_return"]
        rows.append(row | evaluated(benchmark.evaluations.get(game, ())))
    return rows


def evaluated(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what evaluations say of the runs of one game, averaged over them."""
    found: dict[str, list[float]] = {}
    for document in documents:
        for words, figures in document["levels"].items():
            split = "train" if words.startswith("train") else "test"
            found.setdefault(f"evaluated_{split}_return", []).append(figures["mean_return"])
        shared = document.get("overlap") or {}
        for name, key in (
            ("evaluated_test_return_without_repeated_levels", "mean_return_without_them"),
            ("repeated_held_out_levels", "same_layout"),
        ):
            if shared.get(key) is not None:
                found.setdefault(name, []).append(shared[key])
    names = (
        *("evaluated_train_return", "evaluated_test_return"),
        *("evaluated_test_return_without_repeated_levels", "repeated_held_out_levels"),
    )
    return {name: float(np.mean(found[name])) if name in found else None for name in names}


def aggregates(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return a row for each statistic of the normalized scores and each kind of levels."""
    rows = []
    for split in benchmark.splits:
        scores = benchmark.normalized(split)
        for name, statistic in STATISTICS.items():
            random = generator(0, f"bootstrap:{split}:{name}")
            estimate: Estimate = stratified_bootstrap(statistic, scores, random)
            rows.append(
                {
                    "levels": split,
                    "statistic": name,
                    "normalized_score": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "games": len(scores),
                    "runs": sum(map(len, scores)),
                    "published": benchmark.published_mean(split) if name == "mean" else None,
                }
            )
    return rows


def curve_rows(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return the points of the mean curves, thinned."""
    rows = []
    for split in benchmark.splits:
        for game in benchmark.games:
            own = benchmark.band(split, game)
            if own is None:
                continue
            every = max(1, len(own.timesteps) // MOST_POINTS)
            for k in range(0, len(own.timesteps), every):
                point = {"game": game, "levels": split, "timesteps": int(own.timesteps[k])}
                values = {"mean_return": own.mean[k], "low": own.low[k], "high": own.high[k]}
                rows.append(point | {n: float(v) for n, v in values.items()} | {"runs": own.runs})
    return rows


def write_tables(benchmark: Benchmark, totals: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Write games.csv, aggregate.csv, curves.csv and games.md; return the files.

    Args:
        benchmark: the results.
        totals: from ``aggregates``.
        folder: is there.
    """
    tables = {
        "games.csv": game_rows(benchmark),
        "aggregate.csv": totals,
        "curves.csv": curve_rows(benchmark),
    }
    for name, rows in tables.items():
        write_table(str(folder / name), rows)
    header, *lines = shown_rows(benchmark)
    text = [f"{benchmark.title}:", "", "| " + " | ".join(header) + " |"]
    text += ["|" + " --- |" * len(header)]
    text += ["| " + " | ".join(line) + " |" for line in lines]
    write_atomically(folder / "games.md", ("\n".join(text) + "\n").encode())
    return [folder / name for name in (*tables, "games.md")]


def print_table(benchmark: Benchmark, totals: list[dict[str, Any]]) -> None:
    """Print the table of games, and the normalized scores (from ``aggregates``)."""
    table = Table(title=benchmark.title, box=SIMPLE_HEAD)
    header, *lines = shown_rows(benchmark)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    for row in totals:
        text = f"normalized {row['statistic']} on {SPLIT_WORDS[row['levels']]}: "
        text += f"{row['normalized_score']:.3f}"
        if row["low"] is not None:
            text += f" (95 % interval {row['low']:.3f} to {row['high']:.3f})"
        if row["published"] is not None:
            text += f"; published {row['published']:.3f}"
        print(text)


def shown_rows(benchmark: Benchmark) -> list[list[str]]:
    """Return header and cells of the table that is read by people; paper: what was published."""
    rows = game_rows(benchmark)
    header, keys = ["game", "runs"], []
    for split in benchmark.splits:
        header += ["train" if split == "train" else "held-out"]
        keys.append(f"{split}_return")
        # What the published runs had after as many timesteps tells more than their end.
        now = f"{split}_published_after_as_many"
        if benchmark.is_short and any(row[now] is not None for row in rows):
            header.append(f"paper at {amount(benchmark.timesteps)}")
            keys.append(now)
        header.append(f"paper at {amount(TIMESTEPS[benchmark.mode])}")
        keys.append(f"{split}_published")
    lines = []
    for row in rows:
        line = [row["game"], str(row["runs"])]
        for key in keys:
            split = key.removesuffix("_return")
            line.append(shown(row[key]) if split == key else with_interval(row, split))
        lines.append(line)
    return [header, *lines]


def with_interval(row: Mapping[str, Any], split: str) -> str:
    """Return a game's mean with half the width of its interval."""
    mean, high = row[f"{split}_return"], row[f"{split}_high"]
    return shown(mean) if high is None else f"{mean:.1f} ± {high - mean:.1f}"


def shown(value: float | None) -> str:
    """Return a return as text."""
    return "-" if value is None else f"{value:.1f}"
