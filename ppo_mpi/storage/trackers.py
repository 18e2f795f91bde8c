"""Whom a run's curves are told beside its own files; on rank 0.

Whatever one of them does, the training goes on: it is told once, and the tracker is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ppo_mpi.storage.tensorboard import TensorBoard
from ppo_mpi.storage.tracker_process import OutsideTracker

if TYPE_CHECKING:
    from torch import nn

HISTOGRAM_BINS = 32

Row = Mapping[str, float | None]


@dataclass(frozen=True)
class Histogram:
    """How the numbers of a tensor are spread."""

    counts: list[int]
    edges: list[float]
    """One more than there are counts, ascending."""


@dataclass(frozen=True)
class Tracking:
    """What trackers are told of a run, once."""

    trackers: tuple[str, ...] = ("tensorboard",)
    project: str = "ppo_mpi"
    entity: str = ""
    mode: str = "auto"
    """auto, online or offline."""
    histograms_every: int = 0
    """Iterations; 0 for none."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """All of the run, by name."""


class Tracker(Protocol):
    """What a tracker does; each of it may raise anything."""

    def purge(self, timesteps: int) -> None:
        """Forget rows from so many timesteps on: they are about to be written again."""

    def row(self, timesteps: int, row: Row) -> None:
        """Take in a row of progress.csv."""

    def histograms(self, timesteps: int, histograms: Mapping[str, Histogram]) -> None:
        """Take in how the network's parameters are spread."""

    def video(self, timesteps: int, path: Path) -> None:
        """Take in a video of an episode."""

    def close(self) -> None:
        """Send what is left, within a limited time."""


class Trackers:
    """Those that a run has; one that raises is left."""

    def __init__(self, tracking: Tracking, run_dir: Path, warn: Callable[[str], None]) -> None:
        """Open them.

        Args:
            tracking: names them, and what they are told.
            run_dir: the run's folder.
            warn: tells the user something.
        """
        self._warn = warn
        self._trackers: dict[str, Tracker] = {}
        for name in tracking.trackers:
            self._guarded(name, partial(self._open, name, tracking, run_dir))

    def purge(self, timesteps: int) -> None:
        """See ``Tracker``; so it is with the others."""
        self._each(lambda tracker: tracker.purge(timesteps))

    def row(self, timesteps: int, row: Row) -> None:
        """Hand on a row."""
        self._each(lambda tracker: tracker.row(timesteps, row))

    def parameters(self, timesteps: int, model: nn.Module) -> None:
        """Hand on histograms of a model's parameters."""
        if self._trackers:
            found = {name: histogram(p.detach().float().cpu().numpy().ravel())
                     for name, p in model.named_parameters()}  # fmt: skip
            self._each(lambda tracker: tracker.histograms(timesteps, found))

    def video(self, timesteps: int, path: Path) -> None:
        """Hand on a video."""
        self._each(lambda tracker: tracker.video(timesteps, path))

    def close(self) -> None:
        """Close those that are left."""
        self._each(lambda tracker: tracker.close())
        self._trackers = {}

    def _open(self, name: str, tracking: Tracking, run_dir: Path) -> None:
        if name == "tensorboard":
            self._trackers[name] = TensorBoard(run_dir, tracking.settings)
        else:
            self._trackers[name] = OutsideTracker(name, vars(tracking), run_dir, self._warn)

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            self._guarded(name, partial(act, tracker))

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # foreign code: it may raise anything
            self._trackers.pop(name, None)
            remedy = f"; install it with: pip install {name}" * isinstance(error, ImportError)
            self._warn(f"track={name} failed, and the training goes on without: {error}{remedy}")


def histogram(numbers: np.ndarray) -> Histogram:
    """Return how numbers [N] are spread; those that are not finite are left out."""
    counts, edges = np.histogram(numbers[np.isfinite(numbers)], HISTOGRAM_BINS)
    return Histogram(counts.tolist(), edges.tolist())
