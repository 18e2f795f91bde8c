"""Who else is told of a run's curves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import RESUMABLE, at_least

TRACKERS = ("tensorboard", "wandb", "mlflow")


@dataclass(frozen=True)
class TrackingConfig:
    """Who else is told of a run's curves; progress.csv is written always."""

    track: tuple[str, ...] = field(default=("tensorboard",), metadata=RESUMABLE)
    """Trackers that get each row of progress.csv, the settings and captured videos: tensorboard,
    wandb (Weights & Biases), mlflow, several, or none. One that fails is left, and never stops
    the training."""
    track_project: str = field(default="ppo_mpi", metadata=RESUMABLE)
    """Project of W&B, experiment of MLflow."""
    track_entity: str = field(default="", metadata=RESUMABLE)
    """Team or user of W&B; empty takes the account's own."""
    track_mode: Literal["auto", "online", "offline"] = field(default="auto", metadata=RESUMABLE)
    """W&B: offline writes into the run's folder, for `wandb sync`; auto is online where an API key
    is set up and WANDB_MODE says nothing else."""
    track_histograms: int = field(default=0, metadata=RESUMABLE)
    """Iterations between histograms of the network's parameters, for TensorBoard and W&B; 0 = no
    histograms."""

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers, without the word none."""
        return tuple(name for name in self.track if name != "none")

    def check(self) -> None:
        """Refuse unknown trackers, and ``none`` beside others."""
        at_least(0, track_histograms=self.track_histograms)
        for name in self.track:
            if name not in (*TRACKERS, "none"):
                raise ConfigError(f"track={name} is unknown; use {', '.join(TRACKERS)} or none")
        if len(self.track) > 1 and ("none" in self.track or len(set(self.track)) < len(self.track)):
            raise ConfigError(
                f"track={' '.join(self.track)}: name each tracker once, or none alone"
            )

    def unread(self) -> list[tuple[tuple[str, ...], str]]:
        """Return groups of settings that no tracker reads, and what would read them."""
        groups: list[tuple[tuple[str, ...], str]] = []
        if not {"wandb", "mlflow"} & set(self.track):
            groups.append((("track_project",), "track=wandb or mlflow"))
        if "wandb" not in self.track:
            groups.append((("track_entity", "track_mode"), "track=wandb"))
        if not {"wandb", "tensorboard"} & set(self.track):
            groups.append((("track_histograms",), "track=tensorboard or wandb"))
        return groups
