"""Auxiliary heads as words, and settings that do not go together."""

from __future__ import annotations

from typing import Any

import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.heads import Head, parse_head


@pytest.mark.parametrize(
    ("word", "head"),
    [
        ("distance:regression", Head("distance", False, 1, "", None)),
        ("place:regression:2@policy", Head("place", False, 2, "policy", None)),
        ("room:classes:4@shared.1", Head("room", True, 4, "shared", 1)),
    ],
)
def test_a_head_is_a_word(word: str, head: Head):
    assert parse_head(word) == head


def test_a_class_is_one_number_of_the_truth():
    assert parse_head("room:classes:4").width == 1
    assert parse_head("place:regression:4").width == 4


def checked(**values: Any) -> TrainConfig:
    config = with_values(TrainConfig(), values)
    config.validate(1)
    return config


HEADS = ("a:regression",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"auxiliary_heads": ("a:regression:0",)}, "use 1 to"),
        ({"auxiliary_heads": ("a:classes",)}, "use 2 to"),
        ({"auxiliary_heads": ("a:mean:3",)}, "name:kind:size@side.layer"),
        ({"auxiliary_heads": ("a:regression@policy.0",)}, "count from 1"),
        ({"auxiliary_heads": ("a:regression", "a:classes:2")}, "two heads of the name 'a'"),
        ({"auxiliary_heads": HEADS, "auxiliary_weights": (1.0, 2.0)}, "one for each"),
        ({"auxiliary_heads": HEADS, "auxiliary_coef": -1.0}, "auxiliary_coef"),
        ({"auxiliary_heads": HEADS, "algorithm": "ppg"}, "algorithm=ppg"),
        ({"auxiliary_heads": HEADS, "augmentation": "crop"}, "augmentation=none"),
        (
            {"auxiliary_heads": HEADS, "shared_torso": False, "clip_gradients": "parts"},
            "clip_gradients=whole",
        ),
        ({"shared_gradients": ("values",)}, "policy, value, entropy, auxiliary"),
        ({"shared_gradients": ("value", "value")}, "different"),
        ({"shared_gradients": ()}, "frozen_layers"),
        ({"shared_gradients": ("value",), "shared_torso": False}, "share no layer"),
        ({"shared_gradients": ("value",), "algorithm": "ppg"}, "algorithm=ppg"),
        ({"shared_layers": 1, "shared_torso": False, "algorithm": "ppg"}, "leave shared_layers"),
        (
            {"shared_layers": 1, "shared_torso": False, "clip_gradients": "parts"},
            "without shared_layers",
        ),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        checked(**values)


def test_what_nobody_reads_is_said():
    said = checked(auxiliary_coef=0.5, bonus_coef=2.0, borrow_layers=("torso",)).without_effect()
    assert [sentence.split("=")[0] for sentence in said] == [
        "auxiliary_coef", "bonus_coef", "borrow_layers",
    ]  # fmt: skip
    assert not checked(auxiliary_heads=HEADS, auxiliary_coef=0.5).without_effect()
