"""What is recorded of a trained agent: a video, or trajectories to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least, within
from ppo_mpi.settings.corruption import Corruption
from ppo_mpi.settings.level_sets import check_levels

OF_VIDEOS = (
    "episodes", "seconds", "format", "grid", "agent_view", "saliency", "values", "caption", "fps",
    "size",
)  # fmt: skip


@dataclass(frozen=True)
class RecordConfig:
    """What is recorded of a trained agent: a video, or trajectories."""

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
    episodes: int = 1
    """Episodes to record in each place of the grid."""
    trajectories: int = 0
    """Whole episodes whose observations, actions and rewards are written to a file .npz, instead of
    a video; on any number of ranks the same file. What reward_model=gail and cloning learn from."""
    clobber: bool = False
    """Whether a file of trajectories that exists is replaced."""
    seconds: float = 0.0
    """Length of the video in seconds, instead of a number of episodes; 0 = by episodes."""
    format: Literal["mp4", "gif", "both"] = "mp4"
    """mp4 (H.264, plays in a browser), gif, or both."""
    grid: str = ""
    """Several agents in one picture, ROWSxCOLUMNS such as 4x4; empty shows one."""
    agent_view: bool = False
    """Whether the picture that the agent sees (64 x 64 in Procgen) stands beside the human view."""
    saliency: bool = False
    """Whether a picture of what the value depends on stands beside the human view: blue where more
    light raises the value, red where it lowers it."""
    values: bool = False
    """Whether the value's curve stands below the picture; observations, values and actions then
    also go to a file .npz beside the video."""
    caption: bool = False
    """Whether return so far and level stand below the picture."""
    fps: int = 15
    """Environment steps shown per second."""
    size: int = 0
    """Height of one agent's picture in pixels, even; 0 = as the environment draws it (Procgen
    512)."""
    levels: str = "train"
    """Levels to play: train (those of the run's training set), test (those outside it), A:B
    (levels A to B-1), A-B (levels A to B), or a list such as 3,7,12."""
    greedy: bool = False
    """Whether the most probable action is taken (true) or one drawn from the policy (false)."""
    seed: int = 1_000_003
    """Seed of the episodes and of the drawn actions, >= 0; the same seed gives the same video."""
    output: str = ""
    """File or folder of what is recorded; empty writes to asset_dir/<run>/."""
    asset_dir: str = "assets"
    """Folder of videos."""
    checkpoint_dir: str = "checkpoints"
    """Folder of the runs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the network; auto takes a GPU where there is one."""
    threads: int = 0
    """Processor threads; 0 = all cores."""
    hang_timeout_seconds: float = 0.0
    """With trajectories on several ranks: how long one may be silent before the job is ended; 0 =
    ten times the longest silence so far, at least 600 s."""

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before the run is opened.

        Raises:
            ConfigError: a value is out of its range.
        """
        within(1, 5, corruption_severity=self.corruption_severity)
        check_levels(self.levels, allow_both=False)
        grid_shape(self.grid)
        at_least(1, episodes=self.episodes, fps=self.fps)
        at_least(
            0,
            seconds=self.seconds,
            trajectories=self.trajectories,
            seed=self.seed,
            size=self.size,
            threads=self.threads,
        )
        if self.size % 2:
            raise ConfigError(f"size={self.size} must be even (H.264); use {self.size + 1}")
        if self.clobber and not self.trajectories:
            raise ConfigError(
                "clobber=True replaces files of --trajectories only; a video never replaces "
                "another one, unless --output names it"
            )
        if self.trajectories and self.output.lower().endswith((".mp4", ".gif")):
            raise ConfigError(
                f"output={self.output} is a video's name, but trajectories={self.trajectories} "
                "writes arrays; use a name in .npz, or a folder"
            )

    def without_effect(self) -> list[str]:
        """Return a sentence for the settings of which nothing comes; empty if there are none."""
        values = [(name, getattr(self, name)) for name in OF_VIDEOS if self.trajectories]
        changed = [f"{n}={v}" for n, v in values if v != getattr(type(self), n)]
        if not changed:
            return []
        return [f"{', '.join(changed)} without effect: videos only, not --trajectories"]


def grid_shape(grid: str) -> tuple[int, int]:
    """Return (rows, columns) of ``"4x4"``; the empty string is (1, 1).

    Raises:
        ConfigError: it is not of that form, or one of the two is 0.
    """
    if not grid:
        return 1, 1
    rows, cross, columns = grid.lower().partition("x")
    if not (cross and rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise ConfigError(f"grid={grid!r} is not ROWSxCOLUMNS; use for example 4x4")
    return int(rows), int(columns)
