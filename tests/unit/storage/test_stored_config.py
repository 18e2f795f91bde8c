"""Which environments of a stranger's checkpoint are made, and which only if the user names them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.stored_config import (
    TRUSTED_MODULES,
    check_environment,
    check_named,
    stored_config,
    words_of_trust,
)

CODE = {
    "user:mine.envs:make_env": "mine.envs:make_env would be called",
    "mine.envs:make_env": "mine.envs:make_env would be called",
    "user:os:system": "os:system would be called",  # imported in every process, and yet
    "gym:mine:Mine-v0": "mine would be imported",
    "mine:Mine-v0": "mine would be imported",
    "oldgym:mine:Mine-v0": "mine would be imported",
}


def config_of(env: str, *env_kwargs: str) -> TrainConfig:
    return with_values(TrainConfig(), {"env": env, "env_kwargs": env_kwargs})


def checkpoint_with(values: dict[str, Any]) -> Checkpoint:
    return Checkpoint(Path("x"), {}, {}, {"config": values})


def check(stored: str, **typed: Any) -> None:
    check_environment(config_of(stored), typed, "the checkpoint x")


@pytest.mark.parametrize("env", CODE)
def test_code_of_others_is_run_for_who_names_it_only(env: str) -> None:
    for typed in ({}, {"env": ""}, {"env": "coinrun"}, {"env": "mine.envs:other"}):
        with pytest.raises(CheckpointError) as caught:
            check(env, **typed)
        assert CODE[env] in str(caught.value)
        assert f"name it yourself: --env {env} (or set PPO_MPI_TRUSTED_MODULES=" in str(
            caught.value
        )
    check(env, env=env)


def test_what_is_trusted_is_named_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_MODULES, "other,mine.envs:make_env,mine")
    check("user:mine.envs:make_env")
    check("gym:mine:Mine-v0")
    # Trust in a module's ids is none in all that can be called in it.
    for env in ("user:mine.envs:other", "user:mine:make_env"):
        with pytest.raises(CheckpointError, match="would be called"):
            check(env)


def test_a_module_that_was_imported_already_registers_nothing_new() -> None:
    assert "json" in sys.modules
    check("gym:json:Mine-v0")
    with pytest.raises(CheckpointError, match="json:loads would be called"):
        check("user:json:loads")


@pytest.mark.parametrize("env", ["coinrun", "CartPole-v1", "dmc:hopper/stand", "probe:match",
                                 "HopperBulletEnv-v0", "oldgym:CartPole-v1"])  # fmt: skip
def test_environments_of_the_suites_are_made(env: str) -> None:
    check(env)


def test_arguments_that_may_name_files_are_the_users_own_to_name() -> None:
    config = config_of("HalfCheetah-v5", "xml_file=/tmp/evil.xml")
    with pytest.raises(
        CheckpointError, match="if you trust it, name it yourself: --env-kwargs 'xml"
    ):
        check_environment(config, {}, "the checkpoint x")
    check_environment(config, {"env_kwargs": ("xml_file=/tmp/evil.xml",)}, "the checkpoint x")
    check_environment(config_of("HalfCheetah-v5", "frame_skip=3"), {}, "the checkpoint x")


@pytest.mark.parametrize(("setting", "env"), [("env", "coinrun,os:system"),
                                              ("test_env", "os:system"),
                                              ("test_env", "coinrun,os:system")])  # fmt: skip
def test_no_environment_of_a_list_and_none_to_test_in_runs_code(setting: str, env: str) -> None:
    config = with_values(TrainConfig(), {setting: env, "num_test_envs": 2})
    with pytest.raises((CheckpointError, ConfigError), match="os:system would be called|suites"):
        check_environment(config, {}, "the checkpoint x")
    if setting == "test_env":
        alone = with_values(config, {"test_env": "os:system"})
        check_environment(alone, {"test_env": "os:system"}, "the checkpoint x")


@pytest.mark.parametrize(
    ("trained", "named"),
    [("my.module:Game", "coinrun"), ("coinrun", "my.module:Game"), ("my.module:A", "my.module:B")],
)
def test_a_users_own_environment_is_not_exchanged(trained: str, named: str) -> None:
    config, run = config_of(trained), Path("checkpoints/r")
    with pytest.raises(
        ConfigError, match=f"env={named}, but checkpoints/r was trained in {trained}"
    ):
        check_named(config, {"env": named}, run)


def test_other_environments_and_one_of_several_may_be_named() -> None:
    check_named(config_of("coinrun"), {"env": "maze"}, Path("r"))
    check_named(config_of("a.b:One,a.b:Two"), {"env": "a.b:Two"}, Path("r"))


def test_a_long_list_of_levels_is_read_and_one_without_end_is_not() -> None:
    values = {"level_seeds": list(range(5000))}
    assert len(stored_config(checkpoint_with(values)).procgen.level_seeds) == 5000
    with pytest.raises(CheckpointError, match="level_seeds"):
        stored_config(checkpoint_with({"level_seeds": [0] * 100_001}))
    with pytest.raises(CheckpointError, match="which does not exist"):
        stored_config(checkpoint_with({"level_seeds": [-1]}))


def test_who_names_other_arguments_is_told_the_runs() -> None:
    config, run = config_of("HopperBulletEnv-v0", "a=1"), Path("checkpoints/r")
    for named in (
        {},
        {"env": ""},
        {"env": "pybullet:HopperBulletEnv-v0"},
        {"env_kwargs": ("a=1",)},
    ):
        check_named(config, named, run)
    with pytest.raises(
        ConfigError, match="env_kwargs='a=2', but checkpoints/r was trained with 'a"
    ):
        check_named(config, {"env_kwargs": ("a=2",)}, run)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"env": "coinrun"}, ("", "")),
        ({"env": "coinrun,maze", "num_test_envs": 2, "test_env": "starpilot"}, ("", "")),
        ({"env": "mine:make"}, ("", " --env mine:make")),
        ({"env": "mine:Mine-v0"}, ("", " --env mine:Mine-v0")),
        ({"env": "Hopper-v5", "env_kwargs": ("a=3",)}, ("", "")),
        ({"env": "mine:make", "env_kwargs": ("a=/b c", "d=1")},
         ("", " --env mine:make --env-kwargs 'a=/b c' d=1")),
        ({"env": "mine:make", "num_test_envs": 2, "test_env": "mine:other"},
         (f"{TRUSTED_MODULES}=mine:make,mine:other ", "")),
    ],
)  # fmt: skip
def test_the_words_of_a_command_by_which_a_user_trusts_a_run(
    values: dict[str, Any], words: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_values(TrainConfig(), values)
    assert words_of_trust(config) == words
    before, behind = map(str.strip, words)
    if before:
        monkeypatch.setenv(*before.split("=", 1))
    typed: dict[str, Any] = {}
    if "--env " in behind:
        typed["env"] = shlex.split(behind)[1]
    if "--env-kwargs" in behind:
        typed["env_kwargs"] = config.environment.env_kwargs
    check_environment(config, typed, "the checkpoint x")


def test_the_message_names_all_code_of_a_run_that_has_more_than_one() -> None:
    values = {"env": "mine:make", "num_test_envs": 2, "test_env": "mine:other"}
    config = with_values(TrainConfig(), values)
    with pytest.raises(CheckpointError, match=f"{TRUSTED_MODULES}=mine:make,mine:other$"):
        check_environment(config, {"env": "mine:make"}, "the checkpoint x")
