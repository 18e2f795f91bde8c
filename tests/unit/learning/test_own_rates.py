"""When epochs end, and what the values have for themselves: a rate, a clip."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from learners import COMM, CONFIG, NOW, make_batch, make_learner, run_update

from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.scheduled import Scheduled, scheduled
from ppo_mpi.learning.update import update
from ppo_mpi.settings.learning import LearningConfig


def test_the_epochs_end_above_the_targets_multiple():
    always = make_learner(replace(CONFIG, num_epochs=5))
    batch = make_batch(always.model)
    after_one = make_learner(replace(CONFIG, num_epochs=1))
    target = run_update(after_one, batch)["approx_kl"]
    steps = []
    for factor in (0.99 / 2, 1.01 / 2):
        config = replace(CONFIG, num_epochs=2, target_kl=2 * target, kl_stop_factor=factor)
        steps.append(run_update(make_learner(config), batch)["optimizer_steps"])
    assert steps == [4, 8]


@pytest.mark.parametrize("where", [{}, {"on_device": True}, {"workers": Workers(1)}])
def test_values_have_their_own_rate_and_their_own_clip(where):
    config = replace(CONFIG, clip_gradients="parts", max_grad_norm=0.05)
    learner = make_learner(config, **where)
    before = {name: p.detach().clone() for name, p in learner.model.named_parameters()}
    batch = make_batch(learner.model)
    update(learner, batch, (0, 1, 2), 6, replace(NOW, value_learning_rate=0.0), COMM)
    for name, parameter in learner.model.named_parameters():
        of_values = name.startswith(("value_torso", "value_head"))
        assert torch.equal(parameter, before[name]) == of_values, name
    parts = [0.0, 0.0]
    for name, parameter in learner.model.named_parameters():
        parts[name.startswith("value")] += float((parameter.grad**2).sum())
    assert [part**0.5 for part in parts] == pytest.approx([0.05, 0.05], rel=1e-3)


def test_what_is_scheduled_is_taken_from_the_settings():
    learning = LearningConfig(
        learning_rate=1e-3, learning_rate_schedule="linear", final_learning_rate=2e-4,
        value_learning_rate=4e-3, clip_range_schedule="linear",
        entropy_coef=0.02, entropy_coef_schedule="piecewise:0.4=0.5x",
        value_target="reward_to_go", bootstrap_clip_dynamic=True,
        bootstrap_clip_schedule="linear:3",
    )  # fmt: skip
    now = scheduled(learning, 0.5)
    assert vars(now) == pytest.approx(
        {"learning_rate": 6e-4, "value_learning_rate": 2.1e-3, "clip_range": 0.1,
         "entropy_coef": 0.01, "bootstrap_factor": 2.0}
    )  # fmt: skip
    assert now.metrics(learning).keys() == {
        "learning_rate", "value_learning_rate", "clip_range", "entropy_coef",
    }  # fmt: skip
    own = replace(learning, value_learning_rate_schedule="constant")
    assert scheduled(own, 0.5).value_learning_rate == 4e-3
    # One rate alone may be scheduled: the values' begins as the others'.
    own = replace(own, value_learning_rate=None, value_learning_rate_schedule="linear:0")
    assert scheduled(own, 0.5).value_learning_rate == 5e-4
    plain = LearningConfig(learning_rate_schedule="constant")
    assert scheduled(plain, 0.5) == Scheduled(5e-4, 0.2, 0.01)
    assert scheduled(plain, 0.5).metrics(plain) == {"learning_rate": 5e-4, "clip_range": 0.2}
