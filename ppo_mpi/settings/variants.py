"""What is changed in a game of Procgen, so that an agent can pursue another goal than meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.settings.checks import at_least, within


@dataclass(frozen=True)
class VariantsConfig:
    """What is changed in coinrun, maze and heist; each setting says whom it concerns.

    Source:
        Langosco et al. 2022, arXiv:2105.14111, and the options of its environments.
    """

    random_percent: int = 0
    """coinrun, coinrun_mod_wall: levels of a hundred that have their coin at the beginning of a
    random section instead of at the end (published: 0, 1, 2, 5, 10; coinrun_aisc has all)."""
    rand_region: int = 0
    """maze_aisc: the cheese lies anywhere in a square of so many cells in the upper right corner;
    0 = in the corner itself."""
    key_penalty: int = 0
    """heist_aisc_many_*: tenths of a reward that each key costs (published ablation: 3)."""
    step_penalty: int = 0
    """heist_aisc_many_*: thousandths of a reward that each step costs."""
    continue_after_coin: bool = False
    """coinrun and its variants: whether the coin stays and the level goes on when it is touched,
    with a reward of 10 in each step that touches it (meant for videos)."""
    sprites: Literal["faithful", "large"] = "faithful"
    """Mazes with gems, stars and lines: as published, where they are about a pixel of the hard
    mode's picture and often cannot be seen, or filling their cell."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        within(0, 100, random_percent=self.random_percent)
        at_least(
            0,
            rand_region=self.rand_region,
            key_penalty=self.key_penalty,
            step_penalty=self.step_penalty,
        )
