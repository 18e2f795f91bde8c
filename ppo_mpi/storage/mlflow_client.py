"""MLflow, in the tracker's own process."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_mpi.storage.durable import write_atomically
from ppo_mpi.storage.tensorboard import tag_of

MOST_PARAMS, MOST_LETTERS = 100, 500
"""Of a message, and of a value: what all of MLflow's stores take."""


class MlflowClient:
    """One run of MLflow, which a resumed training goes on with."""

    def __init__(self, folder: Path, begin: Mapping[str, Any]) -> None:
        """Begin, or go on with the run that is noted in the folder.

        Args:
            folder: of what the trackers write.
            begin: of the run: its folder, project and settings.
        """
        import mlflow
        from mlflow.entities import Param

        self._client = mlflow.MlflowClient()
        note = folder / "mlflow.json"
        if note.exists():
            self._id = json.loads(note.read_text())["id"]
            self._client.update_run(self._id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(begin["project"])
        experiment = (
            found.experiment_id if found else self._client.create_experiment(begin["project"])
        )
        run = self._client.create_run(experiment, run_name=Path(begin["run_dir"]).name)
        self._id = run.info.run_id
        write_atomically(note, json.dumps({"id": self._id}).encode())
        # A value that was logged once may not change: a resumed run keeps its first ones.
        params = [Param(k, str(v)[:MOST_LETTERS]) for k, v in begin["settings"].items()]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._id, params=params[start : start + MOST_PARAMS])

    def row(self, row: dict[str, float]) -> None:
        """Log a row."""
        from mlflow.entities import Metric

        now, step = int(time.time() * 1000), int(row["timesteps"])
        metrics = [Metric(tag_of(k), v, now, step) for k, v in row.items() if k != "timesteps"]
        self._client.log_batch(self._id, metrics=metrics)

    def histograms(self, content: dict[str, Any]) -> None:
        """Nothing: MLflow has no histograms."""

    def video(self, content: dict[str, Any]) -> None:
        """Keep a video."""
        self._client.log_artifact(self._id, content["path"], "videos")

    def close(self) -> None:
        """Say that the run has ended."""
        self._client.set_terminated(self._id)
