"""What a run leaves in its folder, read without trust: settings, curves, sessions.

A run may come from a stranger, and may be under way while it is read. Axis: N rows.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ppo_mpi.config import TrainConfig, flatten
from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.run_folder import CONFIG, PROGRESS, SYSTEM
from ppo_mpi.storage.strict_json import parse_json
from ppo_mpi.storage.untrusted_files import read_regular_file

MAX_BYTES = {CONFIG: 2**22, PROGRESS: 2**30, SYSTEM: 2**26}
"""Largest files that are read; a row of progress.csv takes half a kilobyte."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class RunFiles:
    """One run as its folder tells it."""

    folder: Path
    settings: dict[str, str]
    """Field -> value as text, ``plain_text`` of it; fields that the run does not know are at their
    defaults, and those that this version does not know are kept."""
    columns: dict[str, np.ndarray]
    """Column of progress.csv -> [N] float64; NaN where a cell is empty."""
    sessions: list[dict[str, Any]]
    """The starts of the run in order, as ``system_info`` wrote them."""

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.resolve().name

    @property
    def env(self) -> str:
        """The environment that it learned in."""
        return self.settings["env"]

    def curve(self, column: str, x: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the points of a curve, without the rows that say nothing of it.

        Args:
            column: of progress.csv; one that is missing gives no points.
            x: ``timesteps`` or ``hours``.

        Returns:
            [n] float64 places, rising, and [n] float64 values, all finite.
        """
        hours = self.columns.get("wall_seconds", np.empty(0)) / 3600
        places = hours if x == "hours" else self.columns.get("timesteps", np.empty(0))
        values = self.columns.get(column, np.full(len(places), math.nan))
        kept = np.isfinite(places) & np.isfinite(values)
        return places[kept], values[kept]

    def clock(self) -> tuple[np.ndarray, np.ndarray]:
        """Return [n] float64 timesteps, rising, and the [n] float64 hours that they took."""
        places, seconds = self.curve("wall_seconds", "timesteps")
        return places, seconds / 3600


def read_run_files(folder: Path) -> RunFiles:
    """Read a run's folder.

    Raises:
        ConfigError: its settings or its curves cannot be read; the message names the file.
    """
    config, progress = (_read(folder / name, name).decode("utf-8", "replace")
                        for name in (CONFIG, PROGRESS))  # fmt: skip
    settings = default_settings() | read_settings(config, folder / CONFIG)
    return RunFiles(
        folder, settings, read_columns(progress, folder / PROGRESS), read_sessions(folder)
    )


def _read(path: Path, kind: str) -> bytes:
    try:
        return read_regular_file(path, MAX_BYTES[kind])
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"cannot read {path} ({reason}); name the folder of a run, which has {CONFIG} and "
            f"{PROGRESS}"
        ) from None


def default_settings() -> dict[str, str]:
    """Return field -> default, as ``plain_text``."""
    return {name: plain_text(value) for name, value in flatten(TrainConfig()).items()}


def plain_text(value: Any) -> str:
    """Return a setting's value as one text, the same however the number was written."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(plain_text, value))
    text = str(value).lower() if isinstance(value, bool) or value is None else str(value)
    if not _NUMBER.fullmatch(text):
        return text
    return f"{float(text):.12g}" if len(text) < 40 else text


def read_settings(text: str, path: Path) -> dict[str, str]:
    """Return field -> value of a config.yaml, as ``plain_text``.

    Only its texts are looked at: YAML's types and its references are not followed.

    Raises:
        ConfigError: it is not of that form.
    """
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML ({str(error)[:200]}); mend it") from None
    found: dict[str, str] = {}
    for _, section in root.value if isinstance(root, yaml.MappingNode) else []:
        for key, value in section.value if isinstance(section, yaml.MappingNode) else []:
            parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
            words = [part.value for part in parts if isinstance(part, yaml.ScalarNode)]
            found[str(key.value)] = plain_text([plain_text(word) for word in words])
    if "env" not in found:
        raise ConfigError(f"{path} names no environment; it is not the config.yaml of a run")
    return {key: "none" if value == "null" else value for key, value in found.items()}


def read_columns(text: str, path: Path) -> dict[str, np.ndarray]:
    """Return column -> [N] float64 of a progress.csv; a last line that is half written is left out.

    Raises:
        ConfigError: it is no CSV.
    """
    whole = text[: text.rfind("\n") + 1]
    try:
        rows = list(csv.reader(io.StringIO(whole)))
    except csv.Error as error:
        raise ConfigError(f"{path} cannot be read ({error}); mend it") from None
    header = rows[0] if rows else []
    kept = [row for row in rows[1:] if len(row) == len(header)]
    return {
        name: np.array([_number(row[place]) for row in kept]) for place, name in enumerate(header)
    }


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """Return the starts of a run in order; none where its system.json cannot be read."""
    try:
        content = parse_json(read_regular_file(folder / SYSTEM, MAX_BYTES[SYSTEM]))
    except (OSError, ValueError):
        return []
    sessions = content.get("sessions") if isinstance(content, Mapping) else None
    return [s for s in sessions if isinstance(s, dict)] if isinstance(sessions, list) else []
