"""What evaluate has written as JSON, read without trust, for the tables of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.strict_json import parse_json
from ppo_mpi.storage.untrusted_files import read_regular_file

EVALUATION = "evaluation.json"
"""Where report puts an evaluation of its own, in the run's folder."""
MAX_BYTES = 2**26
"""Largest file; an episode takes about 150 bytes."""


@dataclass(frozen=True)
class LevelScore:
    """An agent's figures on one set of levels."""

    run: str
    timesteps: float
    env: str
    levels: str
    figures: Mapping[str, Any]

    def number(self, name: str) -> float:
        """Return one figure, NaN where there is none."""
        return as_number(self.figures.get(name))

    def pair(self, name: str) -> tuple[float, float]:
        """Return an interval's bounds, NaN where there is none."""
        return as_pair(self.figures.get(name))


@dataclass(frozen=True)
class Gap:
    """How much more an agent earns on training levels than on held-out ones."""

    run: str
    env: str
    gap: float
    welch: tuple[float, float]
    bootstrap: tuple[float, float]


def as_number(value: Any) -> float:
    """Return a JSON value that should be a number; NaN if it is none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def as_pair(value: Any) -> tuple[float, float]:
    """Return a JSON value that should be two numbers; NaN if it is not."""
    if isinstance(value, list) and len(value) == 2:
        return as_number(value[0]), as_number(value[1])
    return math.nan, math.nan


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON value that should be an object; an empty one if it is none."""
    return value if isinstance(value, dict) else {}


def find_evaluations(folders: Iterable[Path], named: Iterable[str]) -> list[Path]:
    """Return the files to read: those in the runs' folders, then those that were named."""
    own = [path for folder in folders for path in sorted(folder.glob("evaluation*.json"))]
    return list(dict.fromkeys([*own, *(Path(name).expanduser() for name in named)]))


def read_evaluation(path: Path) -> tuple[list[LevelScore], list[Gap]]:
    """Read one file, of one environment or of several games.

    Raises:
        ConfigError: it is not what evaluate writes.
    """
    try:
        content = parse_json(read_regular_file(path, MAX_BYTES))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read the evaluation {path} ({reason})") from None
    games = as_object(content).get("games", {"": content})
    scores, gaps = [], []
    for document in map(as_object, as_object(games).values()):
        run, env = str(document.get("run", "")), str(document.get("env", ""))
        timesteps = as_number(document.get("timesteps"))
        for name, value in as_object(document.get("levels")).items():
            figures = as_object(value)
            if math.isfinite(as_number(figures.get("mean_return"))):
                scores.append(LevelScore(run, timesteps, env, str(name), figures))
        gap = as_object(document.get("generalization_gap"))
        if math.isfinite(as_number(gap.get("gap"))):
            pairs = (as_pair(gap.get(f"{name}_95")) for name in ("welch", "bootstrap"))
            gaps.append(Gap(run, env, as_number(gap["gap"]), *pairs))
    if not scores:
        raise ConfigError(f"{path} is no result of evaluate --json; leave it out")
    return scores, gaps
