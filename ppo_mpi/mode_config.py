"""The settings of the modes beside training: evaluate, play and others.

What the agent is, and which environment it knows, stands in the run's checkpoint; here is only
what may be chosen anew each time it is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import within
from ppo_mpi.settings.corruption import Corruption
from ppo_mpi.settings.level_sets import check_levels


@dataclass(frozen=True)
class EvaluateConfig:
    """How a trained agent is measured."""

    run: str = ""
    """The run: a name under checkpoint_dir, or the path of a run or of one of its checkpoints;
    empty takes the newest run."""
    env: str = ""
    """The environment to be in, of those that the run learned together (empty: each in turn), or
    another one with the same observations and actions. Where it is code of your own, naming it
    says that you trust it."""
    env_kwargs: tuple[str, ...] = ()
    """The run's arguments of its environment, where they are more than numbers and plain words."""
    corruption: Corruption | Literal[""] = ""
    """What spoils the pictures that the agent sees; empty = what the run has."""
    corruption_severity: int = 1
    """How strong, 1 to 5; without meaning where corruption is empty."""
    episodes: int = 200
    """Episodes on each set of levels, over all ranks; with 200 the 95 % interval of a success
    rate is at most 7 percent wide on either side."""
    levels: str = "both"
    """Levels to play: train (those of the run's training set), test (those outside it), both,
    A:B (levels A to B-1), A-B (levels A to B), or a list such as 3,7,12."""
    episodes_per_level: int = 0
    """Episodes on each level of the set, instead of a number of episodes in all: the whole
    training set, all levels of a range or a list, or as many held-out levels as episodes says.
    0 = by episodes."""
    compare_levels: bool = True
    """Whether held-out levels are compared with the training levels (Procgen): some games draw the
    same level for more than one seed. Levels that are laid out alike are reported."""
    greedy: bool = False
    """Whether the most probable action is taken (true) or one drawn from the policy (false, as in
    training and in published Procgen numbers)."""
    json: str = ""
    """File for the results as JSON; empty writes none."""
    table: str = ""
    """File for a row of each episode, by its name CSV or JSON lines (.jsonl); empty writes none."""
    level_table: str = ""
    """File for a row of each level, CSV or JSON lines (.jsonl); empty writes none."""
    seed: int = 1_000_003
    """Seed of the episodes and of the drawn actions, >= 0. The same for every run, so that agents
    are compared on the same episodes, and one that nobody trains with."""
    num_envs: int = 32
    """Environments stepped at once, over all ranks; changes the speed, not the result."""
    checkpoint_dir: str = "checkpoints"
    """Folder of the runs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the network; auto takes a GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Arithmetic of the torso; float32 gives the same figures on every machine."""
    threads: int = 0
    """Processor threads of each rank; 0 = the cores of its node divided by the ranks there."""
    hang_timeout_seconds: float = 0.0
    """How long a rank may be silent before the job is ended, with its name and stack (status 86);
    0 = ten times the longest silence so far, at least 600 s."""

    def validate(self, world_size: int) -> None:
        """Check what can be checked before the run is opened.

        Raises:
            ConfigError: a value is out of its range.
        """
        within(1, 5, corruption_severity=self.corruption_severity)
        check_levels(self.levels, allow_both=True)
        _at_least(1, episodes=self.episodes, num_envs=self.num_envs)
        _at_least(0, seed=self.seed, threads=self.threads)
        _at_least(0, episodes_per_level=self.episodes_per_level)
        for name in ("table", "level_table"):
            path: str = getattr(self, name)
            if path and not path.endswith((".csv", ".jsonl")):
                raise ConfigError(
                    f"{name}={path} is of no known kind; use a name in .csv or .jsonl"
                )
        _at_least(0, hang_timeout_seconds=self.hang_timeout_seconds)
        if self.num_envs < world_size:
            raise ConfigError(
                f"num_envs={self.num_envs} is fewer than world_size={world_size}; "
                f"use num_envs={world_size} or more, or launch {self.num_envs} ranks"
            )


@dataclass(frozen=True)
class PlayConfig:
    """How a trained agent is watched, or the game played by hand."""

    run: str = ""
    """The run: a name under checkpoint_dir, or the path of a run or of one of its checkpoints;
    empty takes the newest run."""
    env: str = ""
    """The environment to be in, of those that the run learned together (empty: the first), or
    another one with the same observations and actions. Where it is code of your own, naming it
    says that you trust it."""
    env_kwargs: tuple[str, ...] = ()
    """The run's arguments of its environment, where they are more than numbers and plain words."""
    corruption: Corruption | Literal[""] = ""
    """What spoils the pictures that the agent sees; empty = what the run has."""
    corruption_severity: int = 1
    """How strong, 1 to 5; without meaning where corruption is empty."""
    terminal: bool = False
    """Whether to draw in the terminal even where there is a display; without this a window is
    opened where there is a display, else the terminal is drawn in, else a video is written."""
    human: bool = False
    """Whether you hold the keys instead of the agent (Procgen)."""
    greedy: bool = False
    """Whether the most probable action is taken (true) or one drawn from the policy (false)."""
    levels: str = "train"
    """Levels to play: train (those of the run's training set), test (those outside it), A:B
    (levels A to B-1), A-B (levels A to B), or a list such as 3,7,12."""
    episodes: int = 0
    """Episodes until it ends; 0 = until you quit."""
    seconds: float = 0.0
    """Time until it ends, in seconds; 0 = until you quit."""
    fps: int = 15
    """Environment steps shown per second."""
    agent_view: bool = False
    """Whether to show the picture that the agent sees instead of the human view."""
    seed: int = 1_000_003
    """Seed of the episodes and of the drawn actions, >= 0."""
    asset_dir: str = "assets"
    """Folder of videos, where neither a display nor a terminal is there."""
    checkpoint_dir: str = "checkpoints"
    """Folder of the runs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the network; auto takes a GPU where there is one."""
    threads: int = 0
    """Processor threads; 0 = all cores."""

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before the run is opened.

        Raises:
            ConfigError: a value is out of its range.
        """
        within(1, 5, corruption_severity=self.corruption_severity)
        check_levels(self.levels, allow_both=False)
        _at_least(1, fps=self.fps)
        _at_least(0, episodes=self.episodes, seconds=self.seconds, seed=self.seed)
        _at_least(0, threads=self.threads)


@dataclass(frozen=True)
class PresetsConfig:
    """Which preset to print."""

    name: str = ""
    """The preset to print; empty lists all of them."""
    all: bool = False
    """Whether the list also has those that only repeat another one as it was published, with its
    one environment (friends-*-original)."""


@dataclass(frozen=True)
class EnvsConfig:
    """Which environments to list."""

    family: str = ""
    """The family whose tasks are listed; empty shows all families and what is installed."""


@dataclass(frozen=True)
class DoctorConfig:
    """What the installation is checked for."""

    checkpoint_dir: str = "checkpoints"
    """Folder of the runs, which must be writable."""


@dataclass(frozen=True)
class LaunchConfig:
    """How a training job is started, and started again."""

    ranks: int = 0
    """Ranks to start; 0 = as many as there are cores, or places on the hosts. Never more than
    num_envs."""
    max_restarts: int = 3
    """Restarts without a further checkpoint after which it gives up. A failure that comes twice
    at the same place in the same way ends it at once; a new checkpoint begins the count anew."""
    min_ranks: int = 1
    """Fewest ranks to go on with when hosts no longer answer."""
    hosts: str = ""
    """Hosts and their places, a:4,b:4; empty for this machine, or the scheduler's choice."""
    host_check: str = "ssh -o BatchMode=yes -o ConnectTimeout=5 {host} true"
    """Command that tells before each start whether a host answers; needed with hosts only."""
    launcher: str = ""
    """The launcher: mpirun, mpiexec, srun or a path; empty takes the mpirun beside this Python,
    else the one on the PATH."""
    launcher_args: str = ""
    """More words for the launcher, as a shell would split them."""
    grace_seconds: float = 120.0
    """How long the job may take to save and leave after a signal; then it is ended."""
    restart_delay: float = 1.0
    """Seconds before a restart, doubled (up to 60) while no further checkpoint is saved."""
    dry_run: bool = False
    """Whether to show the command instead of running it."""

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before anything is started.

        Raises:
            ConfigError: a value is out of its range.
        """
        _at_least(0, ranks=self.ranks, max_restarts=self.max_restarts)
        _at_least(0, grace_seconds=self.grace_seconds, restart_delay=self.restart_delay)
        _at_least(1, min_ranks=self.min_ranks)


def _at_least(low: int, **values: float) -> None:
    for name, value in values.items():
        if not value >= low:
            raise ConfigError(f"{name}={value} is too small; use {low} or more")
