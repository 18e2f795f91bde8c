"""Data augmentation: how images are changed at random, and what is learned from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least

AugmentationName = Literal[
    "none", "crop", "translate", "cutout", "cutout_color", "color_jitter", "grayscale", "flip",
    "rotate", "random_convolution", "ucb",
]  # fmt: skip
TRANSFORMS: tuple[str, ...] = get_args(AugmentationName)[1:-1]
"""All but none and ucb."""


@dataclass(frozen=True)
class AugmentationConfig:
    """Data augmentation: how images are changed at random, and what is learned from them."""

    augmentation: AugmentationName = "none"
    """How the images of each minibatch are changed while learning, anew for every sample and
    epoch; ucb chooses a transform for each iteration by the returns that followed it."""
    augmentation_method: Literal["drac", "rad"] = "drac"
    """drac: PPO on the images as they were, and policy and values that change as little as
    possible with the transform (arXiv:2006.12862); rad: PPO on the changed images alone
    (arXiv:2004.14990)."""
    drac_coef: float = 0.1
    """Weight of drac's two terms, per nat and per squared value (published alpha_r: 0.1)."""
    ucb_coef: float = 0.1
    """Weight of the upper confidence bound, in the unit of returns (published c: 0.1)."""
    ucb_window: int = 10
    """Iterations of a transform whose returns count, its newest (published K: 10)."""
    ucb_choices: tuple[str, ...] = ()
    """Transforms that ucb chooses among; none = all that fit the images."""

    @property
    def is_on(self) -> bool:
        """Whether there is any augmentation."""
        return self.augmentation != "none"

    def unread(self) -> list[tuple[tuple[str, ...], str]]:
        """Return names of settings that nothing reads beside the others, and what would."""
        if not self.is_on:
            return [(tuple(vars(self)), "an augmentation")]
        found: list[tuple[tuple[str, ...], str]] = []
        if self.augmentation_method != "drac":
            found.append((("drac_coef",), "augmentation_method=drac"))
        if self.augmentation != "ucb":
            found.append((("ucb_coef", "ucb_window"), "augmentation=ucb"))
        return found

    def check(self) -> None:
        """Refuse values that are out of their range, or that do not fit each other."""
        at_least(0, drac_coef=self.drac_coef, ucb_coef=self.ucb_coef)
        at_least(1, ucb_window=self.ucb_window)
        names = self.ucb_choices
        if not names:
            return
        shown = " ".join(names)
        if self.augmentation != "ucb":
            raise ConfigError(
                f"ucb_choices={shown} has no effect on augmentation={self.augmentation}; use "
                "augmentation=ucb or leave it out"
            )
        unknown = [name for name in names if name not in TRANSFORMS]
        if unknown:
            raise ConfigError(
                f"ucb_choices={shown} has the unknown {unknown[0]!r}; known: "
                f"{', '.join(TRANSFORMS)}"
            )
        if len(set(names)) < max(2, len(names)):
            raise ConfigError(
                f"ucb_choices={shown} leaves no choice, or names a transform twice; use two or "
                "more different ones"
            )
