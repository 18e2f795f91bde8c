"""The settings of data augmentation."""

from __future__ import annotations

import re

import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"drac_coef": -0.1}, "drac_coef=-0.1 is too small; use 0 or more"),
        ({"ucb_coef": -1.0}, "ucb_coef=-1.0 is too small; use 0 or more"),
        ({"ucb_window": 0}, "ucb_window=0 is too small; use 1 or more"),
        (
            {"ucb_choices": ("crop", "flip"), "augmentation": "crop"},
            "ucb_choices=crop flip has no effect on augmentation=crop; use augmentation=ucb or "
            "leave it out",
        ),
        (
            {"ucb_choices": ("crop", "blur"), "augmentation": "ucb"},
            "ucb_choices=crop blur has the unknown 'blur'; known: crop, translate, cutout",
        ),
        (
            {"ucb_choices": ("crop",), "augmentation": "ucb"},
            "ucb_choices=crop leaves no choice, or names a transform twice; use two or more",
        ),
        (
            {"ucb_choices": ("crop", "flip", "crop"), "augmentation": "ucb"},
            "ucb_choices=crop flip crop leaves no choice, or names a transform twice",
        ),
        (
            {"algorithm": "ppg", "augmentation": "crop", "shared_torso": False},
            "augmentation=crop is made for algorithm=ppo or a2c, not for ppg; use one of them, or "
            "augmentation=none",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_remedy(values, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        with_values(TrainConfig(), values).validate(world_size=1)
