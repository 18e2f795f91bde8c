"""What an evaluation says: figures, the table, the JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ppo_mpi.agent import Agent
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.evaluation_tables import (
    Overlap,
    PlayedEpisode,
    by_split,
    compare_levels,
    episode_rows,
    generalization_gap,
    level_rows,
    overlap_summary,
    write_table,
)
from ppo_mpi.modes.intervals import standard_error
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.storage.durable import write_atomically

FIGURES = (
    "mean_return", "standard_error", "interval_95", "median_return", "min_return", "max_return",
    "mean_length", "normalized_score",
)  # fmt: skip
"""Of a set of levels, beside the number of episodes."""


@dataclass(frozen=True)
class EvaluationResult:
    """Episodes on one set of levels, and what they say."""

    levels: str
    episodes: list[PlayedEpisode]
    normalized: float | None
    """Normalized Procgen score; None for other suites."""

    @property
    def returns(self) -> np.ndarray:
        """[number of episodes] float64."""
        return np.array([e.episode_return for e in self.episodes])

    def summary(self) -> dict[str, Any]:
        """Return the figures, for the table and for JSON; None for those of no episode."""
        if not self.episodes:
            return {"episodes": 0} | dict.fromkeys(FIGURES)
        returns = self.returns
        lengths = np.array([e.length for e in self.episodes])
        error, interval = standard_error(returns)
        mean = float(returns.mean())
        return {
            "episodes": len(returns),
            "mean_return": mean,
            "standard_error": error,
            "interval_95": None if interval is None else [mean - interval, mean + interval],
            "median_return": float(np.median(returns)),
            "min_return": float(returns.min()),
            "max_return": float(returns.max()),
            "mean_length": float(lengths.mean()),
            "normalized_score": self.normalized,
        }


def check_writable(**paths: str) -> None:
    """Check, before any episode is played, that the results can be written.

    Args:
        paths: setting -> file; empty where none is asked for.

    Raises:
        ConfigError: a file's folder does not exist or may not be written.
    """
    for name, path in paths.items():
        folder = Path(path).expanduser().parent
        if path and not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise ConfigError(
                f"{name}={path}: the folder {folder} does not exist or is not writable; make it, "
                "or choose another file"
            )


def report(agent: Agent, config: EvaluateConfig, results: list[EvaluationResult]) -> None:
    """Print the table, and write the files that are asked for."""
    report_games(config, [(agent, results)])


def report_games(
    config: EvaluateConfig, measured: Sequence[tuple[Agent, list[EvaluationResult]]]
) -> None:
    """Print a table for each game, and write the files that are asked for, of all together.

    Args:
        config: says which files.
        measured: the agent in each game, and what came of it there.
    """
    documents: dict[str, dict[str, Any]] = {}
    rows: dict[str, list[dict[str, Any]]] = {"table": [], "level_table": []}
    for agent, results in measured:
        env = agent.config.environment.env
        episodes = [e for result in results for e in result.episodes]
        overlap = compare_levels(agent, episodes) if config.compare_levels else None
        documents[env] = describe(agent, config, results, overlap, len(measured) > 1)
        rows["table"] += episode_rows(agent, config, episodes, overlap)
        own = level_rows(agent, episodes, overlap)
        rows["level_table"] += [{"env": env, **row} for row in own] if len(measured) > 1 else own
    for name, path in (("table", config.table), ("level_table", config.level_table)):
        if path:
            write_table(path, with_same_columns(rows[name]))
    if config.json:
        document = next(iter(documents.values())) if len(documents) == 1 else {"games": documents}
        write_atomically(
            Path(config.json).expanduser(), json.dumps(document, indent=1).encode() + b"\n"
        )


def describe(
    agent: Agent,
    config: EvaluateConfig,
    results: list[EvaluationResult],
    overlap: Overlap | None,
    names_game: bool,
) -> dict[str, Any]:
    """Print what came of an agent in one game; return it for JSON."""
    summaries = {level_words(agent, r.levels): r.summary() for r in results}
    env = agent.config.environment.env
    where = f" in {env}" if names_game or agent.trained_in else ""
    seen = corruption_words(agent)
    where += f", with {seen}" if seen else ""
    title = f"{agent.run_name} at {agent.timesteps:,} timesteps{where}"
    table = Table(title=title, box=SIMPLE_HEAD)
    table.add_column("levels")
    for name in summaries:
        table.add_column(name, justify="right")
    cells = [table_cells(figures) for figures in summaries.values()]
    for row in cells[0]:
        table.add_row(row, *(column[row] for column in cells))
    Console().print(table)
    episodes = [e for result in results for e in result.episodes]
    gap = generalization_gap(agent, episodes, config.seed)
    held_out = by_split(agent, episodes).get("test", [])
    shared = overlap_summary(held_out, overlap) if overlap else None
    for line in [*gap_lines(gap), *overlap_lines(shared)]:
        print(line)
    return {
        "run": agent.run_name,
        "checkpoint": str(agent.checkpoint),
        "timesteps": agent.timesteps,
        "env": env,
        "trained_in": agent.trained_in or env,
        "corruption": corruption_words(agent),
        "greedy": config.greedy,
        "seed": config.seed,
        "mean_return": next(iter(summaries.values()))["mean_return"],
        "levels": summaries,
        "generalization_gap": gap,
        "overlap": shared,
        "episodes": {
            level_words(agent, r.levels): [asdict(e) for e in r.episodes] for r in results
        },
    }


def corruption_words(agent: Agent) -> str:
    """Return how the agent's pictures are corrupted; empty if they are not."""
    own = agent.config.corruption
    return "" if own.corruption == "none" else f"{own.corruption} {own.corruption_severity}"


def with_same_columns(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the columns of all of them; None where one says nothing."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def gap_lines(gap: Mapping[str, Any] | None) -> list[str]:
    """Return what to print of the difference between training and held-out levels."""
    if gap is None:
        return []
    line = f"training minus held-out levels: {gap['gap']:.3f}"
    if gap["welch_95"]:
        welch, bootstrap = ("{:.3f} to {:.3f}".format(*gap[f"{name}_95"]) for name in INTERVALS)
        line += f"; 95 % interval {welch} (Welch), {bootstrap} (bootstrap over levels)"
    return [line]


INTERVALS = ("welch", "bootstrap")
"""Of the difference between training and held-out levels."""


def overlap_lines(shared: Mapping[str, Any] | None) -> list[str]:
    """Return what to print of held-out levels that are training levels in disguise."""
    if shared is None:
        return []
    if "not_compared" in shared:
        return [f"held-out levels were not compared with training levels: {shared['not_compared']}"]
    line = "{same_layout} of {held_out_levels} held-out levels are laid out as a training level"
    line += " ({same_picture} look the same as well)"
    if shared["same_layout"]:
        for name, words in (("without_them", "without them"), ("on_them", "on them")):
            mean = shared[f"mean_return_{name}"]
            line += f"; mean return {words} " + ("-" if mean is None else f"{mean:.3f}")
    return [line.format(**shared)]


def table_cells(figures: dict[str, Any]) -> dict[str, str]:
    """Return row -> cell of the table, from an evaluation's ``summary``."""
    mean = f"{figures['mean_return']:.3f}"
    interval = "-"
    if figures["interval_95"]:
        mean += f" ± {figures['standard_error']:.3f}"
        interval = "{:.3f} to {:.3f}".format(*figures["interval_95"])
    score = figures["normalized_score"]
    return {
        "episodes": f"{figures['episodes']}",
        "mean return ± s.e.": mean,
        "95 % interval": interval,
        "median return": f"{figures['median_return']:g}",
        "lowest, highest": f"{figures['min_return']:g}, {figures['max_return']:g}",
        "mean length": f"{figures['mean_length']:.1f}",
        "normalized score": "-" if score is None else f"{score:.3f}",
    }


def level_words(agent: Agent, levels: str) -> str:
    """Return how a set of levels is called in reports."""
    if not agent.has_levels or levels not in ("train", "test"):
        return levels if agent.has_levels else "all"
    count = len(agent.config.procgen.training_levels)
    if not count:
        return "all levels"
    return f"train ({count})" if levels == "train" else "held-out"
