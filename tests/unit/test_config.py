"""The settings: unique names, docstrings, ranges, and changing them by name."""

from __future__ import annotations

import ast
import inspect
import math
from dataclasses import fields, replace

import pytest

from ppo_mpi import mode_config
from ppo_mpi.config import TrainConfig, flatten, resumable_fields, sections, with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.evaluation import EvaluateConfig
from ppo_mpi.settings.level_sets import check_levels
from ppo_mpi.settings.record import grid_shape

SPLIT = {"network": "split", "split_start": 3}


def test_field_names_are_unique_in_the_whole_tree():
    config = TrainConfig()
    count = sum(len(fields(section)) for section in sections(config).values())
    assert len(flatten(config)) == count


SECTIONS = [inspect.getmodule(type(section)) for section in sections(TrainConfig()).values()]


@pytest.mark.parametrize("module", [*SECTIONS, mode_config])
def test_every_field_has_a_docstring(module):
    tree = ast.parse(inspect.getsource(module))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert classes
    for cls in classes:
        for field, after in zip(cls.body, [*cls.body[1:], None], strict=True):
            if not isinstance(field, ast.AnnAssign):
                continue
            explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert explained, f"{cls.name}.{ast.unparse(field.target)} has no docstring"


def test_defaults_are_valid():
    TrainConfig().validate(world_size=64)
    EvaluateConfig().validate(world_size=32)


def test_values_are_set_by_name_and_lists_become_tuples():
    config = with_values(TrainConfig(), {"hidden_sizes": [3, 4], "num_levels": 7})
    assert config.network.hidden_sizes == (3, 4)
    assert config.procgen.num_levels == 7
    assert config.job == TrainConfig().job


def test_setting_a_field_that_does_not_exist_is_an_error():
    with pytest.raises(ConfigError, match="unknown setting nonsense"):
        with_values(TrainConfig(), {"nonsense": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("reward_clip", math.inf), ("target_kl", math.inf), ("reward_bounds", (-math.inf, 1.0))],
)
def test_what_no_checkpoint_may_hold_is_refused_at_once(name, value):
    config = with_values(TrainConfig(), {name: value})
    with pytest.raises(ConfigError, match=rf"{name}=-?inf is not finite; use a large number"):
        config.validate(world_size=1)


def test_flattening_and_setting_are_inverse():
    config = with_values(TrainConfig(), {"seed": 3, "discount": 0.9, "env_kwargs": ["a=1"]})
    assert with_values(TrainConfig(), flatten(config)) == config


def test_rollouts_and_iterations_are_whole():
    config = with_values(
        TrainConfig(), {"num_envs": 8, "rollout_timesteps": 1_024, "total_timesteps": 100_000}
    )
    assert config.rollout_steps == 128
    assert config.num_iterations == 97


@pytest.mark.parametrize(
    ("values", "world_size", "message"),
    [
        ({"num_envs": 6, "rollout_timesteps": 6}, 8, "num_envs=6 is fewer than world_size=8; use"),
        ({"num_envs": 0}, 1, "num_envs=0 is too small; use 1 or more"),
        ({"rollout_timesteps": 100}, 1, "rollout_timesteps=100 is not a multiple of num_envs=64"),
        ({"discount": 1.5}, 1, "discount=1.5 is out of range; use 0 to 1"),
        ({"learning_rate": 0.0}, 1, "learning_rate=0.0 must be greater than 0"),
        ({"value_learning_rate": 0.0}, 1, "value_learning_rate=0.0 must be greater than 0"),
        (
            {"learning_rate_schedule": "square"},
            1,
            "learning_rate_schedule='square' is no schedule; use constant, linear[:END][@AT], log",
        ),
        ({"value_learning_rate_schedule": "linear@0"}, 1, "value_learning_rate_schedule='linear@0"),
        ({"clip_range_schedule": "log:a"}, 1, "clip_range_schedule='log:a' is no schedule"),
        ({"entropy_coef_schedule": ""}, 1, "entropy_coef_schedule='' is no schedule"),
        ({"bootstrap_clip": (3.0, 1.0)}, 1, "bootstrap_clip=3.0 1.0 must be a lower and a higher"),
        ({"reward_bounds": (1.0,)}, 1, "reward_bounds=1.0 must be a lower and a higher number"),
        ({"bootstrap_clip": (-1.0, 1.0)}, 1, "and value_target=gae; use value_target=reward_to_go"),
        ({"bootstrap_clip_schedule": "linear"}, 1, "bootstrap_clip_schedule=linear has no bootst"),
        (
            {"soft_resets": "scheduled", "soft_resets_switches": (0.4,)},
            1,
            "soft_resets_switches=0.4 must ascend, from above 0.5 up to 1",
        ),
        ({"soft_resets_switches": (0.7,)}, 1, "switch nothing with soft_resets=on; use soft_reset"),
        ({"clip_gradients": "parts"}, 1, "clip_gradients=parts needs policy and values of their o"),
        ({"huber_delta": 0.0}, 1, "huber_delta=0.0 must be greater than 0"),
        ({"max_segment_steps": -1}, 1, "max_segment_steps=-1 is too small; use 0 or more"),
        ({"target_kl": -1.0}, 1, "target_kl=-1.0 must be greater than 0"),
        ({"num_minibatches": 99_999}, 1, "num_minibatches=99999 is more than"),
        ({"hidden_sizes": (64, 0)}, 1, "hidden_sizes=0 is too small; use 1 or more"),
        ({"conv_channels": (-1,)}, 1, "conv_channels=-1 is too small; use 1 or more"),
        ({"policy_gain": -1.0}, 1, "policy_gain=-1.0 is too small; use 0 or more"),
        ({"value_hidden_sizes": (256, 64)}, 1,
         "value_hidden_sizes=256,64 needs a torso of the value's own; use shared_torso=false"),
        (SPLIT | {"value_joint_hidden_sizes": (8,)}, 1,
         "value_joint_hidden_sizes=8 needs a torso of the value's own; use shared_torso=false"),
        (SPLIT | {"value_hidden_sizes": (8,), "shared_torso": False}, 1,
         "value_hidden_sizes=8 has no effect on network=split; use network=mlp or leave it out"),
        ({"network": "split"}, 1, "network=split does not know where to split the vector; use"),
        ({"split_start": -10}, 1,
         "split_start=-10 has no effect on network=auto; use network=split or leave it out"),
        ({"value_left_hidden_sizes": (8, 8), "shared_torso": False}, 1,
         "value_left_hidden_sizes=8,8 has no effect on network=auto; use network=split"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_the_remedy(values, world_size, message):
    with pytest.raises(ConfigError) as caught:
        with_values(TrainConfig(), values).validate(world_size)
    assert message in str(caught.value)


def test_a_resumed_run_may_change_how_long_but_not_what_is_learned():
    allowed = resumable_fields()
    assert {"total_timesteps", "max_seconds", "checkpoint_every", "display"} <= allowed
    assert not {"env", "num_envs", "seed", "learning_rate", "num_levels"} & allowed


def test_more_ranks_than_environments_cannot_evaluate():
    with pytest.raises(ConfigError, match="num_envs=2 is fewer than world_size=4"):
        replace(EvaluateConfig(), num_envs=2).validate(world_size=4)


@pytest.mark.parametrize(
    "levels", ["train", "test", "both", "0:10", "3", "3,7,12", "200-1199", "0-9,50"]
)
def test_levels_may_be_a_set_a_range_or_a_list(levels):
    check_levels(levels, allow_both=True)


def test_a_grid_is_rows_by_columns():
    assert grid_shape("") == (1, 1)
    assert grid_shape("2x3") == (2, 3)
    for wrong in ("2", "2x", "0x3", "axb", "2x3x4"):
        with pytest.raises(ConfigError, match="is not ROWSxCOLUMNS"):
            grid_shape(wrong)


def test_settings_of_what_is_off_are_named():
    off = with_values(TrainConfig(), {"aux_epochs": 2, "clone_coef": 0.5, "drac_coef": 3.0})
    assert off.without_effect() == [
        "aux_epochs=2, clone_coef=0.5 without effect: read with algorithm=ppg only",
        "drac_coef=3.0 without effect: read with an augmentation only",
    ]
    on = with_values(off, {"algorithm": "ppg", "augmentation": "crop"})
    assert on.without_effect() == TrainConfig().without_effect() == []
    rad = with_values(on, {"augmentation_method": "rad", "ucb_window": 3})
    assert rad.without_effect() == [
        "drac_coef=3.0 without effect: read with augmentation_method=drac only",
        "ucb_window=3 without effect: read with augmentation=ucb only",
    ]
