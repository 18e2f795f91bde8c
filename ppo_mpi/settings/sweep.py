"""The settings of a hyperparameter search that do not stand in its file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least


@dataclass(frozen=True)
class SweepConfig:
    """Which search, and what is done of it now."""

    file: str = ""
    """The YAML file of the search: what is tried, how often, and what is good (docs/sweep.md)."""
    label: str = ""
    """Name of the folders of runs and tables; empty takes the file's."""
    parallel: int = 0
    """Runs at a time on this machine; 0 = as the file says."""
    dry_run: bool = False
    """Whether the trials are listed, with what is done of them and what is left, and nothing is
    run; with slurm the script."""
    table_only: bool = False
    """Whether nothing is trained: finished runs are evaluated, and the table is made of what is
    there."""
    retry_failed: bool = False
    """Whether runs that failed are tried again, from their last checkpoint."""
    clobber: bool = False
    """Whether runs that were begun with other settings than the file has now are deleted and begun
    anew, instead of ending the search before it begins."""
    slurm: bool = False
    """Whether the unfinished runs are written as an array of Slurm jobs, instead of run here."""
    submit: bool = False
    """Whether that array is handed to Slurm as well."""
    slurm_args: str = ""
    """More words for sbatch, as a shell would split them, such as --partition=cpu."""
    checkpoint_dir: str = "checkpoints"
    """Folder under which the runs are: <checkpoint_dir>/<label>/<trial>-seed<seed>."""
    asset_dir: str = "assets"
    """Folder under which table and picture are: <asset_dir>/<label>."""

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before the file is read.

        Raises:
            ConfigError: a value is out of its range, or two contradict each other.
        """
        if not self.file:
            raise ConfigError("no file given; use for example sweep launch/sweep-cartpole.yaml")
        if self.label and not re.fullmatch(r"[\w+-][\w.+-]*", self.label):
            raise ConfigError(
                f"label={self.label!r} is to be the name of folders and of a Slurm job; use "
                "letters, digits, and _ + - ., no . at first"
            )
        at_least(0, parallel=self.parallel)
        if self.slurm and self.table_only:
            raise ConfigError("slurm and table_only contradict each other; leave one out")
        if self.submit and (not self.slurm or self.dry_run):
            raise ConfigError(
                "submit=true hands the script of slurm=true to sbatch; add --slurm, and leave "
                "--dry-run out"
            )
