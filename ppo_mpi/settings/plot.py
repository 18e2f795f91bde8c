"""The settings of the mode plot: learning curves of one or many runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least

ENDINGS = (".png", ".pdf", ".svg", ".csv")
"""Of the files that plot writes."""


@dataclass(frozen=True)
class PlotConfig:
    """Which curves are drawn, and how."""

    runs: tuple[str, ...] = ()
    """The runs: names under checkpoint_dir, gallery/NAME, paths of runs, or of folders that hold
    runs; runs that differ in nothing but their seed are drawn as one curve. Empty takes the newest
    run."""
    x: Literal["timesteps", "hours"] = "timesteps"
    """Horizontal axis: timesteps of the whole job, or hours that the run took."""
    y: tuple[str, ...] = ()
    """Columns of progress.csv, a picture for each; empty = mean returns on training and on
    held-out levels, together."""
    smooth: int = 1
    """Rows of progress.csv over which each run's curve is averaged, as many before a point as
    behind it; 1 = as it is."""
    reference: bool = True
    """Whether published curves of the same game and setting stand behind the returns, where the
    package has them (Procgen)."""
    title: str = ""
    """Title of the figure; empty says which environment."""
    output: str = ""
    """Files to write, by their names .png, .pdf, .svg or .csv (the figures behind the curves),
    several with commas between; empty writes learning-curves.png in asset_dir/<run>/, or in
    asset_dir where there are several runs."""
    asset_dir: str = "assets"
    """Folder of pictures."""
    checkpoint_dir: str = "checkpoints"
    """Folder of the runs."""

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files to write; none if they are left to the default."""
        return tuple(Path(word.strip()).expanduser() for word in self.output.split(",") if word)

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before a run is opened.

        Raises:
            ConfigError: a value is out of its range.
        """
        at_least(1, smooth=self.smooth)
        for path in self.outputs:
            if path.suffix.lower() not in ENDINGS:
                raise ConfigError(
                    f"output={path} is of no known kind; use a name in {', '.join(ENDINGS)}"
                )
