"""The settings of an experiment: which runs, where, and what becomes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least


@dataclass(frozen=True)
class ExperimentConfig:
    """Many runs from one command, up to tables and figures."""

    name: str = ""
    """The experiment; empty lists them."""
    games: str = "all"
    """Games, with commas between them; all = every game of the experiment."""
    setting: Literal["easy-200", "easy-all", "hard-500", "hard-all"] = "easy-200"
    """Published setting of the Procgen benchmark: difficulty, and number of training levels."""
    seeds: int = 3
    """Runs of each game, with the seeds from first_seed on; the published figures are of 3."""
    first_seed: int = 0
    """Seed of the first run of each game."""
    preset: str = ""
    """Preset of the runs; empty takes the one that belongs to the setting."""
    total_timesteps: int = 0
    """Timesteps of each run; 0 = as in the preset (easy: 25M, hard: 200M)."""
    num_test_envs: int = 16
    """Environments of each run on held-out levels, for the held-out curve (published: 64)."""
    eval_episodes: int = 200
    """Episodes on training and on held-out levels that each finished run is evaluated by; 0 = no
    evaluation."""
    ranks: int = 1
    """Ranks of each run on this machine; more than one are started and supervised by launch."""
    label: str = ""
    """Name of the folders of runs and figures; empty takes the experiment's and the setting's."""
    figures_only: bool = False
    """Whether only tables and figures are made, of what has been trained so far."""
    skip_training: bool = False
    """Whether unfinished runs are left as they are: what is there is evaluated and drawn."""
    dry_run: bool = False
    """Whether to show the plan (runs, timesteps, estimated time) instead of carrying it out; with
    slurm the script."""
    slurm: bool = False
    """Whether the unfinished runs are handed to Slurm as an array instead of run here."""
    slurm_args: str = ""
    """More words for sbatch, as a shell would split them, such as --partition=cpu."""
    checkpoint_dir: str = "checkpoints"
    """Folder under which the runs are: <checkpoint_dir>/<label>/<game>-seed<seed>."""
    asset_dir: str = "assets"
    """Folder under which tables and figures are: <asset_dir>/<label>."""

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before the runs are planned.

        Raises:
            ConfigError: a value is out of its range.
        """
        if self.label and not re.fullmatch(r"[\w.+-]+", self.label):
            raise ConfigError(
                f"label={self.label!r} is to be the name of folders and of a Slurm job; use "
                "letters, digits, and . _ + -"
            )
        doing = [n for n in ("slurm", "figures_only", "skip_training") if getattr(self, n)]
        if len(doing) > 1 and "slurm" in doing:
            raise ConfigError(f"{doing[0]} and {doing[1]} contradict each other; leave one out")
        at_least(1, seeds=self.seeds, ranks=self.ranks)
        at_least(0, first_seed=self.first_seed, total_timesteps=self.total_timesteps)
        at_least(0, num_test_envs=self.num_test_envs, eval_episodes=self.eval_episodes)
