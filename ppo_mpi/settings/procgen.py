"""The Procgen engine's options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.settings.checks import at_least


@dataclass(frozen=True)
class ProcgenConfig:
    """The Procgen engine's options; ignored by other suites."""

    num_levels: int = 0
    """Levels to train on; 0 = all of them (easy-200: 200, hard-500: 500)."""
    start_level: int = 0
    """First level of the restricted set; without meaning when num_levels is 0."""
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
