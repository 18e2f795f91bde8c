"""Settings of ACKTR that are out of range, or do not go with others."""

from __future__ import annotations

from typing import Any

import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError

ACKTR: dict[str, Any] = {
    "algorithm": "acktr", "num_epochs": 1, "num_minibatches": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kl_clip": 0.0}, "kl_clip=0.0 must be greater than 0"),
        ({"curvature_damping": 0.0}, "curvature_damping=0.0 must be greater than 0"),
        ({"value_deviation": -1.0}, "value_deviation=-1.0 must be greater than 0"),
        ({"value_kl_clip": 0.0}, "value_kl_clip=0.0 must be greater than 0"),
        ({"value_kl_clip": 0.1, "shared_torso": True}, "value_kl_clip=0.1 needs .* shared_torso"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 is too small"),
        ({"eigen_every": 0}, "eigen_every=0 is too small"),
        ({"curvature_every": 0}, "curvature_every=0 is too small"),
        ({"curvature_momentum": 1.0}, "curvature_momentum=1.0 must be at least 0 and below 1"),
        ({"curvature_decay": 1.0}, "curvature_decay=1.0 must be at least 0 and below 1"),
        ({"recurrent": "gru"}, "recurrent=gru does not go with algorithm=acktr.* recurrent=none"),
        ({"optimizer": "adam"}, "optimizer=adam takes no natural gradient.* algorithm=a2c"),
        (
            {"clip_gradients": "parts", "shared_torso": False},
            "clip_gradients=parts .* use clip_gradients=whole",
        ),
        ({"precision": "bfloat16"}, "precision=bfloat16 has too few digits.* precision=auto"),
        ({"num_epochs": 2}, "num_epochs=2 .* algorithm=acktr"),
        ({"augmentation": "crop"}, "augmentation=crop is made for algorithm=ppo or a2c"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(changed: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        with_values(TrainConfig(), ACKTR | changed).validate(1)


def test_it_is_said_that_other_algorithms_do_not_read_them():
    with_values(TrainConfig(), ACKTR).validate(1)
    changed = {"kl_clip": 0.5, "eigen_every": 3}
    (sentence,) = with_values(TrainConfig(), changed).without_effect()
    assert sentence == ("kl_clip=0.5, eigen_every=3 without effect: read with algorithm=acktr only")
    assert not with_values(TrainConfig(), ACKTR | changed).without_effect()
