"""Weights & Biases, in the tracker's own process."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppo_mpi.storage.durable import write_atomically
from ppo_mpi.storage.tensorboard import tag_of

INIT_SECONDS = 60.0
"""Longest wait for the server at the start."""


class WandbClient:
    """One run of W&B, which a resumed training goes on with."""

    def __init__(self, folder: Path, begin: Mapping[str, Any]) -> None:
        """Begin, or go on with the run that is noted in the folder.

        Args:
            folder: of what the trackers write.
            begin: of the run: its folder, project, entity, mode and settings.
        """
        import wandb

        note = folder / "wandb.json"
        if not note.exists():
            write_atomically(note, json.dumps({"id": secrets.token_hex(4)}).encode())
        settings = wandb.Settings(
            console="off", silent=True, init_timeout=INIT_SECONDS, disable_git=True
        )
        self._run = wandb.init(
            project=begin["project"],
            entity=begin["entity"] or None,
            id=json.loads(note.read_text())["id"],
            name=Path(begin["run_dir"]).name,
            config=dict(begin["settings"]),
            dir=folder,
            mode=chosen_mode(begin["mode"]),  # type: ignore[arg-type]
            resume="allow",
            settings=settings,
        )
        # Rows that a resumed training repeats come at timesteps that were there before, which
        # W&B's own count of steps would refuse.
        self._run.define_metric("timesteps")
        self._run.define_metric("*", step_metric="timesteps")

    def row(self, row: dict[str, float]) -> None:
        """Log a row."""
        named = {tag_of(k): v for k, v in row.items() if k not in ("iteration", "timesteps")}
        self._run.log({**named, "timesteps": row["timesteps"], "iteration": row["iteration"]})

    def histograms(self, content: dict[str, Any]) -> None:
        """Log how the parameters are spread."""
        import wandb

        found = {
            f"parameters/{name}": wandb.Histogram(np_histogram=(spread["counts"], spread["edges"]))
            for name, spread in content["histograms"].items()
        }
        self._run.log({**found, "timesteps": content["timesteps"]})

    def video(self, content: dict[str, Any]) -> None:
        """Log a video."""
        import wandb

        video = wandb.Video(content["path"], format="mp4")
        self._run.log({"episodes/video": video, "timesteps": content["timesteps"]})

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


def chosen_mode(asked: str) -> str | None:
    """Return W&B's mode: as asked, as WANDB_MODE says, or offline where there is no API key."""
    if asked != "auto":
        return asked
    if os.environ.get("WANDB_MODE"):
        return None
    import wandb

    has_key = bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)
    return "online" if has_key else "offline"
