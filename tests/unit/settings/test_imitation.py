"""Settings of imitation: what is refused, what has no effect."""

from __future__ import annotations

from typing import Any

import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.imitation import ImitationConfig
from ppo_mpi.settings.record import RecordConfig

PLAIN = {"env": "gym:CartPole-v1", "num_envs": 2, "rollout_timesteps": 64}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"expert_subsample": 0}, "expert_subsample=0 is too small; use 1 or more"),
        ({"gail_batch_size": 0}, "gail_batch_size=0 is too small"),
        ({"gradient_penalty": -1.0}, "gradient_penalty=-1.0 is too small"),
        ({"discriminator_hidden_sizes": (8, 0)}, "discriminator_hidden_sizes=0 is too small"),
        ({"cloning_learning_rate": 0.0}, "cloning_learning_rate=0.0 must be greater"),
        ({"cloning_held_out": 0.95}, "cloning_held_out=0.95 is out of range; use 0 to 0.9"),
        (
            {"cloning_epochs": 1, "recurrent": "gru", "expert_subsample": 2, "expert_data": "e"},
            "expert_subsample=2 leaves no whole episodes, .* recurrent=gru",
        ),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        with_values(TrainConfig(), PLAIN | values).validate(1)


def test_a_run_without_an_experts_data_is_refused():
    ImitationConfig(expert_data="e.npz").check_given("reward_model=gail")
    with pytest.raises(ConfigError, match="^cloning_epochs needs an expert; give its data with"):
        ImitationConfig().check_given("cloning_epochs")


@pytest.mark.parametrize(
    ("values", "sentences"),
    [
        ({}, []),
        (
            {"expert_data": "e", "gail_epochs": 4, "cloning_held_out": 0.0},
            [
                "expert_data=e without effect: read with reward_model=gail or cloning_epochs only",
                "gail_epochs=4 without effect: read with reward_model=gail only",
                "cloning_held_out=0.0 without effect: read with cloning_epochs only",
            ],
        ),
        ({"expert_data": "e", "gail_epochs": 4, "reward_model": "gail"}, []),
        (
            {"expert_data": "e", "gail_epochs": 4, "cloning_epochs": 1},
            ["gail_epochs=4 without effect: read with reward_model=gail only"],
        ),
        (
            {"expert_data": "e", "reward_model": "gail", "reward_epochs": 3},
            ["reward_epochs=3 without effect: read with icm or rnd only"],
        ),
    ],
)
def test_what_nobody_reads_is_said(values: dict[str, Any], sentences: list[str]):
    assert with_values(TrainConfig(), PLAIN | values).without_effect() == sentences


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clobber": True}, "clobber=True replaces files of --trajectories only"),
        ({"trajectories": 1, "output": "a.mp4"}, "a.mp4 is a video's name, but trajectories=1"),
        ({"trajectories": -1}, "trajectories=-1 is too small"),
    ],
)
def test_what_cannot_be_recorded_is_refused(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        RecordConfig(**values).validate()


def test_what_a_file_of_trajectories_has_no_use_for_is_said():
    config = RecordConfig(trajectories=2, grid="2x2", saliency=True, episodes=3, greedy=True)
    assert config.without_effect() == [
        "episodes=3, grid=2x2, saliency=True without effect: videos only, not --trajectories"
    ]
    assert RecordConfig(trajectories=2, levels="test", seed=1, clobber=True).without_effect() == []
    assert RecordConfig(grid="2x2").without_effect() == []
