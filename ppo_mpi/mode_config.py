"""The settings of the modes beside training; those of larger ones are in settings/.

What the agent is, and which environment it knows, stands in the run's checkpoint; here is only
what may be chosen anew each time it is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.settings.checks import at_least, within
from ppo_mpi.settings.corruption import Corruption
from ppo_mpi.settings.level_sets import check_levels


@dataclass(frozen=True)
class PlayConfig:
    """How a trained agent is watched, or the game played by hand."""

    run: str = ""
    """The run: a name under checkpoint_dir, gallery/NAME, or the path of a run or of one of its
    checkpoints; empty takes the newest run."""
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
        at_least(1, fps=self.fps)
        at_least(0, episodes=self.episodes, seconds=self.seconds, seed=self.seed)
        at_least(0, threads=self.threads)


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
        at_least(0, ranks=self.ranks, max_restarts=self.max_restarts)
        at_least(0, grace_seconds=self.grace_seconds, restart_delay=self.restart_delay)
        at_least(1, min_ranks=self.min_ranks)
