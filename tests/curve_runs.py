"""Folders of runs as plot and report read them: settings and made-up rows of progress.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.modes.opening import config_text
from ppo_mpi.storage.run_folder import CONFIG, PROGRESS


def curve_run(folder: Path, rows: Sequence[Mapping[str, object]], **settings: Any) -> Path:
    """Write a run's config.yaml and progress.csv; return its folder.

    Args:
        folder: is made.
        rows: columns -> cells; the first row has all columns. Timesteps and seconds are put in
            front, 1000 and 36 for each row.
        settings: that are not at their defaults; the environment is CartPole unless told.
    """
    folder.mkdir(parents=True)
    config = with_values(TrainConfig(), {"env": "gym:CartPole-v1"} | settings)
    (folder / CONFIG).write_text(config_text(config))
    columns = ["iteration", "timesteps", "wall_seconds", *(rows[0] if rows else ["mean_return"])]
    with (folder / PROGRESS).open("w", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        for k, row in enumerate(rows, start=1):
            table.writerow({"iteration": k, "timesteps": 1000 * k, "wall_seconds": 36 * k} | row)
    return folder


def returns(*values: object) -> list[dict[str, object]]:
    """Return rows with these mean returns."""
    return [{"mean_return": value} for value in values]
