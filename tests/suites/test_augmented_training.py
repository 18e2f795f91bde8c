"""Training on changed images in real suites: every transform, and the refusal of some."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from ppo_mpi.build import build_run
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.augmentations import AUGMENTATIONS
from ppo_mpi.modes.train import run_iteration

COMM = Communicator()
GRAY = [name for name, own in AUGMENTATIONS.items() if not own.needs_color]


def config_for(env: str, **values: Any) -> TrainConfig:
    small = {"env": env, "num_envs": 2, "rollout_timesteps": 32, "num_minibatches": 2,
             "num_epochs": 1, "channel_multiplier": 0.25, "feature_size": 16,
             "microbatch_size": 8, "device": "cpu"}  # fmt: skip
    return with_values(TrainConfig(), small | values)


def train(config: TrainConfig, iterations: int = 2) -> list[dict[str, float]]:
    """Return the metrics of each iteration."""
    run = build_run(config, COMM)
    try:
        return [run_iteration(run, config, COMM)[0] for _ in range(iterations)]
    finally:
        run.close()


@pytest.mark.parametrize("method", ["rad", "drac"])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_procgen_is_learned_from_images_under_each_transform(name: str, method: str):
    pytest.importorskip("procgen")
    precision = "bfloat16" if method == "drac" else "float32"
    asked = {"augmentation": name, "augmentation_method": method, "precision": precision}
    changed, plain = (
        train(config_for("starpilot", **values)) for values in (asked, {"precision": precision})
    )
    for rows in (changed, plain):
        assert all(math.isfinite(row["loss"]) for row in rows)
    assert changed[1]["loss"] != plain[1]["loss"]
    if method == "drac":
        assert changed[1]["augmentation_policy_loss"] > 0


@pytest.mark.parametrize("name", GRAY)
def test_atari_is_learned_from_stacked_frames_under_each_transform_that_fits(name: str):
    pytest.importorskip("ale_py")
    rows = train(config_for("atari:Pong", augmentation=name, network="nature"), 1)
    assert rows[0]["augmentation_value_loss"] > 0


def test_colors_of_gray_frames_are_refused_before_any_work():
    pytest.importorskip("ale_py")
    message = "augmentation=grayscale needs red, green and blue, but the environment's images are "
    message += f"84 x 84 x 4; use one of {', '.join(GRAY)}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        build_run(config_for("atari:Pong", augmentation="grayscale"), COMM)


def test_ucb_takes_every_transform_that_fits_in_turn():
    pytest.importorskip("procgen")
    rows = train(config_for("coinrun", augmentation="ucb"), len(AUGMENTATIONS) + 1)
    numbers = [row["augmentation"] for row in rows]
    assert numbers[:-1] == [1.0 + i for i in range(len(AUGMENTATIONS))]
    assert numbers[-1] in numbers[:-1]


@pytest.mark.parametrize("normalize_values", [False, True])
def test_what_a_transform_brought_is_in_the_unit_of_returns(normalize_values: bool):
    # Without discount a target is the reward.
    config = config_for(
        "probe:picture_and_vector", augmentation="ucb", normalize_rewards=False, discount=0.0,
        gae_lambda=0.0, normalize_values=normalize_values,
    )  # fmt: skip
    run = build_run(config, COMM)
    for _ in range(3):
        run_iteration(run, config, COMM)
    augmenter, last = run.learner.augmenter, run.collector.rewards.mean()
    run.close()
    assert augmenter is not None
    assert augmenter.choice is not None
    assert last > 0.1
    assert augmenter.choice.state_dict()["returns"][1, 0] == pytest.approx(last, rel=1e-4)
