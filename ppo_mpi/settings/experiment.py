"""The settings of an experiment: which runs, where, and what becomes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least
from ppo_mpi.settings.level_sets import level_set


@dataclass(frozen=True)
class ExperimentConfig:
    """Many runs from one command, up to tables and figures."""

    name: str = ""
    """The experiment; empty lists them."""
    games: str = "all"
    """procgen-benchmark: games, with commas between them; all = every game."""
    setting: Literal["easy-200", "easy-all", "hard-500", "hard-all"] = "easy-200"
    """procgen-benchmark: published setting: difficulty, and number of training levels."""
    pair: str = "coinrun"
    """goal-misgeneralization: pairs of environments to train and to test in, with commas between
    them (coinrun, maze-corner, maze-gem, maze-line, keys); all = every pair."""
    sweep: str = ""
    """goal-misgeneralization: a setting of train and its values, such as
    random_percent=0,1,2,5,10: runs for each value; empty = for none."""
    seeds: int = 3
    """Runs of each game or pair, with the seeds from first_seed on; the published figures of the
    Procgen benchmark are of 3."""
    first_seed: int = 0
    """Seed of the first run of each game or pair."""
    preset: str = ""
    """Preset of the runs; empty takes the published one: that of the setting, or misgen-hard-500
    and for a sweep misgen-a100."""
    total_timesteps: int = 0
    """Timesteps of each run; 0 = as in the preset (easy: 25M, hard: 200M)."""
    num_test_envs: int = 16
    """Environments of each run on held-out levels, or in the other environment of the pair, for the
    second curve (Procgen benchmark: 64); 0 = no such curve."""
    eval_episodes: int = 200
    """procgen-benchmark: episodes on training and on held-out levels that each finished run is
    evaluated by; 0 = no evaluation."""
    eval_levels: str = "0-999"
    """goal-misgeneralization: levels that each finished run plays in both environments of its pair,
    A:B, A-B or a list (published: 0-9999); empty = no evaluation."""
    vanilla_repeats: int = 11
    """goal-misgeneralization, sweeps of random_percent: how often the run with 0 plays each of
    these levels, to find those in which the random place is not on its way (published: 11)."""
    value_levels: int = 200
    """goal-misgeneralization, pair coinrun: levels in which the value is measured at four places,
    with the coin and without; 0 = none."""
    videos: int = 1
    """goal-misgeneralization, without a sweep: episodes in the video of the first seed of each
    pair, in each of its two environments; 0 = no videos."""
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
    """Folder under which the runs are: <checkpoint_dir>/<label>/<game or pair>-seed<seed>."""
    asset_dir: str = "assets"
    """Folder under which tables and figures are: <asset_dir>/<label>."""

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before the runs are planned.

        Raises:
            ConfigError: a value is out of its range.
        """
        if self.label and not re.fullmatch(r"[\w+-][\w.+-]*", self.label):
            raise ConfigError(
                f"label={self.label!r} is to be the name of folders and of a Slurm job; use "
                "letters, digits, and _ + - ., no . at first"
            )
        doing = [n for n in ("slurm", "figures_only", "skip_training") if getattr(self, n)]
        if len(doing) > 1 and "slurm" in doing:
            raise ConfigError(f"{doing[0]} and {doing[1]} contradict each other; leave one out")
        at_least(1, seeds=self.seeds, ranks=self.ranks)
        at_least(0, first_seed=self.first_seed, total_timesteps=self.total_timesteps)
        at_least(0, num_test_envs=self.num_test_envs, eval_episodes=self.eval_episodes)
        at_least(1, vanilla_repeats=self.vanilla_repeats)
        at_least(0, value_levels=self.value_levels, videos=self.videos)
        if self.eval_levels and not level_set(self.eval_levels):
            raise ConfigError(
                f"eval_levels={self.eval_levels} are no levels; use A-B (A to B), a list such as "
                "3,7,12, or nothing for no evaluation"
            )
