"""Which trackers there are, and which settings one of them reads."""

from __future__ import annotations

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.tracking import TrackingConfig


def test_words_of_the_command_line():
    command = parse_command(["train", "coinrun", "--track", "tensorboard", "wandb", "--ui", "live"])
    assert command.config.tracking.trackers == ("tensorboard", "wandb")
    assert command.config.job.display == "live"
    assert parse_command(["train", "--track", "none"]).config.tracking.trackers == ()
    assert TrackingConfig().trackers == ("tensorboard",)


@pytest.mark.parametrize(
    ("track", "words"),
    [
        (("neptune",), "track=neptune is unknown; use tensorboard, wandb, mlflow or none"),
        (("none", "wandb"), "none alone"),
        (("wandb", "wandb"), "name each tracker once"),
    ],
)
def test_what_cannot_be_is_refused(track, words):
    with pytest.raises(ConfigError, match=words):
        TrackingConfig(track=track).check()


def test_settings_that_no_tracker_reads_are_named():
    config = with_values(TrainConfig(), {"track_project": "p", "track_mode": "offline"})
    assert config.without_effect() == [
        "track_project=p without effect: read with track=wandb or mlflow only",
        "track_mode=offline without effect: read with track=wandb only",
    ]
    assert with_values(config, {"track": ("wandb",)}).without_effect() == []
    config = with_values(TrainConfig(), {"track": ("mlflow",), "track_histograms": 3})
    assert "track_histograms=3 without effect" in config.without_effect()[0]
