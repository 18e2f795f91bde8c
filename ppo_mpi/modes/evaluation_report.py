"""What an evaluation says: figures, the table, the JSON file."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ppo_mpi.agent import Agent
from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import EvaluateConfig
from ppo_mpi.storage.durable import write_atomically


@dataclass(frozen=True)
class PlayedEpisode:
    """One episode of an evaluation."""

    episode: int
    """Its number, from 0: it fixes the level and all random streams."""
    level: int
    """-1 where the suite has no levels."""
    episode_return: float
    """Sum of the raw rewards."""
    length: int
    """Timesteps."""


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
        """Return the figures, for the table and for JSON."""
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


def standard_error(values: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Return the mean's standard error and the half width of its 95 % interval.

    Both are None for a single value: one episode says nothing of the spread.

    Source:
        Student's t quantile by the expansion of Abramowitz and Stegun 1964, 26.7.5; within 1 %
        from 3 degrees of freedom on.
    """
    n = len(values)
    if n < 2:
        return None, None
    error = float(values.std(ddof=1)) / math.sqrt(n)
    z, freedom = 1.959964, n - 1
    quantile = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return error, quantile * error


def check_writable(json_path: str) -> None:
    """Check, before any episode is played, that the results can be written.

    Raises:
        ConfigError: the file's folder does not exist or may not be written.
    """
    folder = Path(json_path).expanduser().parent
    if json_path and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise ConfigError(
            f"json={json_path}: the folder {folder} does not exist or is not writable; make it, "
            "or choose another file"
        )


def report(agent: Agent, config: EvaluateConfig, results: list[EvaluationResult]) -> None:
    """Print the table and write the JSON file."""
    summaries = {level_words(agent, r.levels): r.summary() for r in results}
    table = Table(title=f"{agent.run_name} at {agent.timesteps:,} timesteps", box=SIMPLE_HEAD)
    table.add_column("levels")
    for name in summaries:
        table.add_column(name, justify="right")
    cells = [table_cells(figures) for figures in summaries.values()]
    for row in cells[0]:
        table.add_row(row, *(column[row] for column in cells))
    Console().print(table)
    if config.json:
        document = {
            "run": agent.run_name,
            "checkpoint": str(agent.checkpoint),
            "timesteps": agent.timesteps,
            "env": agent.config.environment.env,
            "greedy": config.greedy,
            "seed": config.seed,
            "mean_return": next(iter(summaries.values()))["mean_return"],
            "levels": summaries,
            "episodes": {
                level_words(agent, r.levels): [vars(e) for e in r.episodes] for r in results
            },
        }
        write_atomically(
            Path(config.json).expanduser(), json.dumps(document, indent=1).encode() + b"\n"
        )


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
    count = agent.config.procgen.num_levels
    if not count:
        return "all levels"
    return f"train ({count})" if levels == "train" else "held-out"
