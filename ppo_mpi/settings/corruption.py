"""What spoils the pictures that an agent sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.settings.checks import within

Corruption = Literal[
    "none", "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur",
    "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur", "snow", "frost", "fog",
    "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate",
    "spatter",
]  # fmt: skip


@dataclass(frozen=True)
class CorruptionConfig:
    """How the pictures that the agent sees are corrupted; people are shown them as they are."""

    corruption: Corruption = "none"
    """Corruption of every picture, one of those of Hendrycks & Dietterich 2019 (arXiv:1903.12261),
    drawn anew for each step."""
    corruption_severity: int = 1
    """How strong it is, 1 to 5, with that paper's numbers for each corruption."""

    def check(self) -> None:
        """Refuse values that are out of their range."""
        within(1, 5, corruption_severity=self.corruption_severity)
