"""The settings of reports: of the mode report, and of those that training writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import RESUMABLE, at_least


@dataclass(frozen=True)
class ReportingConfig:
    """The report that training leaves in the run's folder."""

    report: bool = field(default=True, metadata=RESUMABLE)
    """Whether report.html, one page with curves, settings and machine, is written into the run's
    folder when training ends or is stopped."""
    report_every: int = field(default=0, metadata=RESUMABLE)
    """Iterations between reports while it trains; 0 = only at the end."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(0, report_every=self.report_every)
        if self.report_every and not self.report:
            raise ConfigError(
                f"report_every={self.report_every} has no effect on report=false; leave one out"
            )


@dataclass(frozen=True)
class ReportConfig:
    """What goes into a report of runs that are there."""

    runs: tuple[str, ...] = ()
    """The runs: names under checkpoint_dir, gallery/NAME, paths of runs, or of folders that hold
    runs; several are compared. Empty takes the newest run."""
    output: str = ""
    """The file, .html; empty writes report.html into the run's folder, or into asset_dir where
    there are several runs, and into asset_dir/<run>/ for an exported one."""
    evaluations: tuple[str, ...] = ()
    """Files that evaluate --json wrote; evaluation*.json in a run's folder are found by
    themselves."""
    evaluate: bool = False
    """Whether each run's agent is evaluated first, into evaluation.json beside its report."""
    episodes: int = 200
    """Episodes on each set of levels, with evaluate."""
    clip: bool = False
    """Whether a clip of ten seconds is recorded first, into asset_dir/<run>/."""
    videos: bool = True
    """Whether the newest videos .mp4 of asset_dir/<run>/ that are small enough are put into the
    page."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the network, with evaluate or clip."""
    asset_dir: str = "assets"
    """Folder of videos."""
    checkpoint_dir: str = "checkpoints"
    """Folder of the runs."""

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before a run is opened.

        Raises:
            ConfigError: a value is out of its range.
        """
        at_least(1, episodes=self.episodes)
        if self.output and Path(self.output).suffix.lower() not in (".html", ".htm"):
            raise ConfigError(f"output={self.output} is no name of a page; use one in .html")
