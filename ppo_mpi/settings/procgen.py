"""The Procgen engine's options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least

NUM_LEVELS = 2**31 - 1
"""Of every Procgen game: 0 to 2**31 - 2."""
MOST_LISTED = 10**5
"""Levels in a list; every checkpoint carries all of them."""


@dataclass(frozen=True)
class ProcgenConfig:
    """The Procgen engine's options; ignored by other suites."""

    num_levels: int = 0
    """Levels to train on; 0 = all of them (easy-200: 200, hard-500: 500)."""
    start_level: int = 0
    """First level of the restricted set; without meaning when num_levels is 0."""
    level_seeds: tuple[int, ...] = ()
    """Levels to train on, where they are no range: a list such as 3,17,99, or @FILE with them,
    drawn evenly (twice as often what stands there twice); excludes num_levels. Empty = by
    num_levels."""
    distribution_mode: Literal["easy", "hard", "extreme", "memory", "exploration"] = "easy"
    """Difficulty of the levels; not every game has every mode."""
    center_agent: bool = True
    """Whether the view follows the agent, in games where it can."""
    use_backgrounds: bool = True
    """Whether backgrounds are pictures (true) or black."""
    use_monochrome_assets: bool = False
    """Whether objects are drawn as one-colored rectangles."""
    restrict_themes: bool = False
    """Whether games with many themes use one only."""
    use_generated_assets: bool = False
    """Whether objects are drawn at random instead of from pictures (such environments cannot be
    saved, so a resumed run begins fresh episodes)."""
    paint_vel_info: bool = False
    """Whether the agent's velocity is painted in the upper left corner, in games that can."""
    use_sequential_levels: bool = False
    """Whether a completed level leads to the next one within the same episode."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        at_least(0, num_levels=self.num_levels)
        if self.level_seeds:
            self._check_level_seeds()

    @property
    def is_restricted(self) -> bool:
        """Whether some levels are training levels and others held out."""
        return bool(self.num_levels or self.level_seeds)

    @property
    def training_levels(self) -> Sequence[int]:
        """The training levels, each once; empty if none is held out."""
        if self.level_seeds:
            return tuple(dict.fromkeys(self.level_seeds))
        return range(self.start_level, self.start_level + self.num_levels)

    def _check_level_seeds(self) -> None:
        wrong = [level for level in self.level_seeds if not 0 <= level < NUM_LEVELS]
        if wrong:
            raise ConfigError(
                f"level_seeds has the level {wrong[0]}, which does not exist; use 0 to "
                f"{NUM_LEVELS - 1}"
            )
        if len(self.level_seeds) > MOST_LISTED:
            raise ConfigError(
                f"level_seeds has {len(self.level_seeds):,} levels; use {MOST_LISTED:,} at most, "
                "or a range: start_level and num_levels"
            )
        excluded = {
            f"num_levels={self.num_levels}": (
                self.num_levels, "says which levels are played a second time; use num_levels=0"
            ),
            "use_sequential_levels=true": (
                self.use_sequential_levels, "lets the engine number the levels; leave it out"
            ),
            "use_generated_assets=true": (
                self.use_generated_assets, "makes a new engine for each listed level; leave it out"
            ),
            "distribution_mode=exploration": (
                self.distribution_mode == "exploration", "is one fixed level; use another mode"
            ),
        }  # fmt: skip
        for setting, (is_set, reason) in excluded.items():
            if is_set:
                raise ConfigError(f"level_seeds={_shown(self.level_seeds)}, but {setting} {reason}")


def _shown(levels: Sequence[int]) -> str:
    return ",".join(map(str, levels[:5])) + (",..." if len(levels) > 5 else "")
