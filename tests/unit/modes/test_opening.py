"""Opening a run: new, resumed, finished or clobbered."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppo_mpi.build import build_run
from ppo_mpi.config import TrainConfig, flatten, resumable_fields, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.modes.opening import (
    close_finished,
    config_text,
    open_run,
    prepare_folder,
    resumed_config,
    run_dir_of,
)
from ppo_mpi.registry import default_run_name
from ppo_mpi.snapshot import snapshot_of, state_of
from ppo_mpi.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ppo_mpi.storage.logger import Logger
from ppo_mpi.storage.run_folder import is_done, mark_done, read_tags

COMM = Communicator()


def config_in(folder: Path, **values: Any) -> TrainConfig:
    fixed = {"checkpoint_dir": str(folder), "run": "r", "env": "probe:match"}
    return with_values(TrainConfig(), fixed | values)


def save(config: TrainConfig, timesteps: int, **entries: Any) -> Checkpoint:
    """Write a checkpoint of a run with that config, as training does."""
    run_dir = run_dir_of(config)
    run_dir.mkdir(parents=True, exist_ok=True)
    run = build_run(config, COMM)
    run.progress.timesteps = timesteps
    run.progress.iteration = timesteps // config.learning.rollout_timesteps
    snapshot = snapshot_of(run)
    state = state_of(snapshot, config, COMM)
    state["logger"] = Logger(None, COMM, "off", timesteps, 0).state_dict()
    state |= entries
    tensors, environments = snapshot.tensors, snapshot.environments
    path = save_checkpoint(run_dir, timesteps, tensors, environments, state, COMM)
    return load_checkpoint(path)


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ("coinrun", "coinrun"),
        ("procgen:coinrun", "coinrun"),
        ("CartPole-v1", "CartPole-v1"),
        ("gym:module:Thing-v0", "module-Thing-v0"),
        ("gym:ALE/Pong-v5", "ALE-Pong-v5"),
    ],
)
def test_a_run_is_named_after_its_environment(env: str, name: str, tmp_path: Path) -> None:
    assert default_run_name(env) == name
    assert run_dir_of(config_in(tmp_path, env=env, run="")) == tmp_path / name


def test_a_run_without_checkpoints_is_new(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    for prepare in (lambda: None, lambda: run_dir_of(config).mkdir()):
        prepare()
        opening = open_run(config, {}, COMM)
        assert (opening.checkpoint, opening.finished, opening.warnings) == (None, False, [])
        assert opening.config is config
        assert opening.run_dir == tmp_path / "r"


def test_a_run_with_a_checkpoint_goes_on_with_its_own_settings(tmp_path: Path) -> None:
    save(config_in(tmp_path, learning_rate=0.125, num_envs=32), 16_384)
    opening = open_run(config_in(tmp_path), {"run": "r"}, COMM)
    assert opening.checkpoint is not None
    assert opening.config.learning.learning_rate == 0.125
    assert opening.config.environment.num_envs == 32
    assert not opening.finished


def test_lists_of_the_checkpoint_are_tuples_again(tmp_path: Path) -> None:
    own = {"env": "gym:CartPole-v1", "env_kwargs": ("sutton_barto_reward=false",)}
    config = config_in(tmp_path, hidden_sizes=(3, 4), **own)
    assert resumed_config(save(config, 16_384), {"hidden_sizes": (3, 4)}, config) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("total_timesteps", 999_999), ("max_seconds", 5.0), ("checkpoint_every", 3),
        ("keep_checkpoints", 9), ("num_checkpoints", 4), ("eval_every", 2), ("eval_episodes", 5),
        ("display", "plain"), ("threads", 7), ("device", "cpu"), ("hang_timeout_seconds", 3.0),
        ("asset_dir", "elsewhere"),
    ],
)  # fmt: skip
def test_what_does_not_shape_learning_may_change(name: str, value: Any, tmp_path: Path) -> None:
    config = config_in(tmp_path)
    resumed = resumed_config(save(config, 16_384), {name: value}, config)
    assert flatten(resumed) == flatten(config) | {name: value}


FIXED = [
    ("seed", 1), ("num_envs", 32), ("env", "maze"), ("num_levels", 5), ("learning_rate", 0.5),
    ("precision", "float32"), ("deterministic", True), ("hidden_sizes", (8,)), ("network", "mlp"),
    ("rollout_timesteps", 8192), ("num_test_envs", 3), ("discount", 0.5), ("target_kl", 0.1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), FIXED)
def test_what_shapes_learning_may_not_change_and_is_named(
    name: str, value: Any, tmp_path: Path
) -> None:
    assert name not in resumable_fields()
    config = config_in(tmp_path)
    with pytest.raises(ConfigError) as caught:
        resumed_config(save(config, 16_384), {name: value}, config)
    assert f"{name}={value} (the run has {flatten(config)[name]})" in str(caught.value)
    assert str(tmp_path / "r") in str(caught.value)
    assert "leave it out, use another --run, or --clobber to start over" in str(caught.value)


def test_all_refused_settings_are_named_at_once(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    checkpoint = save(config, 16_384)
    with pytest.raises(ConfigError, match=r"num_envs=8 .*, seed=4 \(the run has 0\) was given"):
        resumed_config(checkpoint, {"seed": 4, "num_envs": 8, "discount": 0.999}, config)


def test_of_another_algorithm_nothing_else_is_named(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with pytest.raises(ConfigError, match=r"but algorithm=a2c \(the run has ppo\) was given"):
        resumed_config(save(config, 16_384), {"algorithm": "a2c", "gae_lambda": 1.0}, config)


def test_a_setting_given_as_it_is_is_no_change(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    given = flatten(config) | {"clobber": False}
    assert resumed_config(save(config, 16_384), given, config) == config
    cartpole = config_in(tmp_path, env="gym:CartPole-v1")
    given = flatten(cartpole) | {"env": "CartPole-v1"}
    assert resumed_config(save(cartpole, 16_384), given, cartpole) == cartpole


def test_a_run_that_reached_its_total_is_finished_until_the_total_is_raised(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path, total_timesteps=40_000)
    save(config, 2 * 16_384)  # 40,000 timesteps are two whole iterations
    for given, finished in (({}, True), ({"total_timesteps": 49_151}, True)):
        opening = open_run(config, given, COMM)
        assert opening.finished == finished
        opening.lock.release()
    assert not open_run(config, {"total_timesteps": 49_152}, COMM).finished


def test_what_a_job_left_undone_after_its_last_checkpoint_is_done_by_the_next(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path, total_timesteps=2 * 16_384)
    save(config, 16_384)
    save(config, 2 * 16_384, tags=["best", "milestone-10"])
    opening = open_run(config, {}, COMM)
    assert opening.finished
    close_finished(opening, COMM)
    assert is_done(opening.run_dir)
    newest = opening.run_dir / "step-000000032768"
    assert read_tags(opening.run_dir) == {"best": newest.name, "milestone-10": newest.name}
    opening.lock.release()


def test_the_tags_of_the_newest_checkpoint_are_set_before_anything_is_pruned(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path, total_timesteps=100_000)
    save(config, 16_384, tags=["best"])
    opening = open_run(config, {}, COMM)
    prepare_folder(opening, False, COMM)
    assert read_tags(opening.run_dir) == {"best": "step-000000016384"}
    opening.lock.release()


@pytest.mark.parametrize("tags", ["best", [1], ["../x"], ["12"]])
def test_other_tags_than_ours_are_refused(tmp_path: Path, tags: Any) -> None:
    config = config_in(tmp_path, total_timesteps=100_000)
    save(config, 16_384, tags=tags)
    with pytest.raises(CheckpointError, match="has tags=.* instead of a list of tags"):
        open_run(config, {}, COMM)


def test_a_job_that_was_overtaken_while_it_was_starting_does_not_begin_anew(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path)
    opening = open_run(config, {}, COMM)
    save(config, 16_384)
    with pytest.raises(ConfigError, match="another job has trained in .* while this one was start"):
        prepare_folder(opening, False, COMM)


def test_a_run_that_another_job_trains_cannot_be_opened(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    save(config, 16_384)
    opening = open_run(config, {}, COMM)
    with pytest.raises(ConfigError, match="another job trains in"):
        open_run(config, {}, COMM)
    opening.lock.release()


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_is_used(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    older, newer = save(config, 16_384), save(config, 32_768)
    (newer.path / "state.json").write_text("{}")
    opening = open_run(config, {}, COMM)
    assert opening.checkpoint is not None
    assert opening.checkpoint.path == older.path
    (warning,) = opening.warnings
    assert "step-000000032768 is damaged" in warning
    assert "using step-000000016384 instead" in warning


def test_clobber_does_not_read_what_is_there_and_empties_the_folder(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    checkpoint = save(config, 16_384)
    (checkpoint.path / "manifest.json").write_text("damaged")
    mark_done(tmp_path / "r", 16_384)
    (tmp_path / "r" / "progress.csv").write_text("iteration\n1\n")
    opening = open_run(config, {"clobber": True, "seed": 8}, COMM)
    assert (opening.checkpoint, opening.finished) == (None, False)
    assert checkpoint.path.exists(), "something was removed before the run could begin"
    prepare_folder(opening, True, COMM)
    assert {path.name for path in (tmp_path / "r").iterdir()} == {".lock", "config.yaml"}


def test_a_prepared_folder_holds_the_config_and_is_not_done(tmp_path: Path) -> None:
    config = config_in(tmp_path, hidden_sizes=(3,), target_kl=0.5)
    opening = open_run(config, {}, COMM)
    assert not (tmp_path / "r").exists()
    prepare_folder(opening, False, COMM)
    mark_done(tmp_path / "r", 5)
    prepare_folder(opening, False, COMM)
    assert not is_done(tmp_path / "r")
    tree = yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())
    values = {key: value for section in tree.values() for key, value in section.items()}
    assert with_values(TrainConfig(), values) == config
    assert yaml.safe_load(config_text(config)) == tree


def test_more_ranks_than_the_runs_environments_are_refused(tmp_path: Path) -> None:
    save(config_in(tmp_path, num_envs=2, rollout_timesteps=64), 16_384)
    many = Communicator()
    many.world_size = 3
    with pytest.raises(ConfigError, match="num_envs=2 is fewer than world_size=3"):
        open_run(config_in(tmp_path), {}, many)


def test_where_files_go_is_not_taken_from_a_checkpoint(tmp_path: Path) -> None:
    foreign = config_in(tmp_path, asset_dir="/elsewhere")
    checkpoint = save(foreign, 16_384)
    config = config_in(tmp_path)
    assert resumed_config(checkpoint, {}, config) == config


@pytest.mark.parametrize("trace", ["tags.json", "DONE", "NEWEST", "unreadable-step-000000000512-7"])
def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(tmp_path: Path, trace: str) -> None:
    config = config_in(tmp_path)
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / trace).write_text("{}")
    with pytest.raises(CheckpointError, match=f"it has {trace}.*start over with --clobber"):
        open_run(config, {}, COMM)
    opening = open_run(config, {"clobber": True}, COMM)
    prepare_folder(opening, True, COMM)
    opening.lock.release()
    assert open_run(config, {}, COMM).checkpoint is None


def test_a_run_that_ended_before_its_first_checkpoint_begins_anew_and_says_so(
    tmp_path: Path,
) -> None:
    config = config_in(tmp_path)
    opening = open_run(config, {}, COMM)
    prepare_folder(opening, False, COMM)
    opening.lock.release()
    (warning,) = open_run(config, {}, COMM).warnings
    assert "ended without having saved a checkpoint; the run begins anew" in warning


@pytest.mark.parametrize("name", [".lock", "progress.csv", "tensorboard", "ranks", "step-1"])
def test_a_run_with_links_in_it_is_refused_and_nothing_behind_them_is_touched(
    tmp_path: Path, name: str
) -> None:
    config = config_in(tmp_path)
    save(config, 16_384)
    (tmp_path / "precious").write_text("as it was")
    (tmp_path / "r" / name).symlink_to(tmp_path / "precious")
    with pytest.raises(CheckpointError, match=f"{name} is a symbolic link"):
        open_run(config, {}, COMM)
    assert (tmp_path / "precious").read_text() == "as it was"


def test_damaged_tags_are_found_before_training_begins(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    save(config, 16_384)
    (tmp_path / "r" / "tags.json").write_text('{"best": "step-')
    with pytest.raises(CheckpointError, match="tags.json cannot be read as JSON .*remove it"):
        open_run(config, {}, COMM)


def test_the_loss_of_the_newest_checkpoint_is_told(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    older, newer = save(config, 16_384), save(config, 32_768)
    shutil.rmtree(newer.path)
    opening = open_run(config, {}, COMM)
    assert opening.checkpoint is not None
    assert opening.checkpoint.path == older.path
    (warning,) = opening.warnings
    assert "step-000000032768, which was saved last, is missing; using step-" in warning


def test_a_setting_without_effect_is_named_where_a_run_begins_and_not_where_it_goes_on(
    tmp_path: Path,
):
    config = config_in(tmp_path, kl_stop_factor=1.5)
    (warning,) = open_run(config, {}, COMM).warnings
    assert warning == (
        "kl_stop_factor=1.5 has no effect, as there is no target_kl to multiply; give one, such as "
        "target_kl=0.015, or leave kl_stop_factor out"
    )
    with_target = with_values(config, {"target_kl": 0.1})
    assert open_run(with_target, {}, COMM).warnings == []
    save(config, 16_384)  # such as an older preset began
    opening = open_run(config, {}, COMM)
    assert opening.checkpoint is not None
    assert opening.warnings == []
