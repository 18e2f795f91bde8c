"""Names that a user types -> code."""

from __future__ import annotations

import importlib.util

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.cli_sources import preset_names
from ppo_mpi.errors import ConfigError
from ppo_mpi.registry import (
    ALGORITHMS,
    DEFAULT_PRESETS,
    NETWORKS,
    PRESETS_OF_ALGORITHMS,
    SUITES,
    default_preset,
    lookup,
    names_of,
    split_env_name,
    task_names,
    unknown_name,
)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("coinrun", ("procgen", "coinrun")),
        ("procgen:coinrun", ("procgen", "coinrun")),
        ("CartPole-v1", ("gym", "CartPole-v1")),
        ("gym:CartPole-v1", ("gym", "CartPole-v1")),
        ("gym:my_module:Mine-v0", ("gym", "my_module:Mine-v0")),
        ("my_module:Mine-v0", ("gym", "my_module:Mine-v0")),
        ("my_module:space/Mine-v0", ("gym", "my_module:space/Mine-v0")),
        ("my.module:make_env", ("user", "my.module:make_env")),
        ("user:my.module:make_env", ("user", "my.module:make_env")),
        ("oldgym:CartPole-v1", ("oldgym", "CartPole-v1")),
        ("oldgym:my_module:Mine-v0", ("oldgym", "my_module:Mine-v0")),
        ("HopperBulletEnv-v0", ("pybullet", "HopperBulletEnv-v0")),
        ("MinitaurBulletDuckEnv-v0", ("pybullet", "MinitaurBulletDuckEnv-v0")),
        ("KukaDiverseObjectGrasping-v0", ("pybullet", "KukaDiverseObjectGrasping-v0")),
        ("dmc:hopper/stand", ("dmc", "hopper/stand")),
        ("dmc:humanoid_CMU-run", ("dmc", "humanoid_CMU/run")),
        ("dm.ball_in_cup.catch", ("dmc", "ball_in_cup/catch")),
        ("dm_control/point_mass-easy-v0", ("dmc", "point_mass/easy")),
        ("Hopper-v2", ("gym", "Hopper-v4")),
        ("gym:LunarLander-v2", ("gym", "LunarLander-v3")),
        ("Pusher-v2", ("gym", "Pusher-v5")),
        ("Hopper-v5", ("gym", "Hopper-v5")),
    ],
)
def test_an_environment_is_a_suite_and_a_task(env, expected):
    assert split_env_name(env) == expected


def test_an_unknown_game_lists_what_is_known():
    with pytest.raises(ConfigError, match="unknown Procgen game 'coinrn'; did you mean coinrun"):
        split_env_name("procgen:coinrn")


def test_the_message_lists_near_names_first_and_all_otherwise():
    assert unknown_name("pet", "cta", ["dog", "cat"]) == "unknown pet 'cta'; did you mean cat?"
    assert unknown_name("pet", "xyz", ["dog", "cat"]) == "unknown pet 'xyz'; known: cat, dog"
    many = [f"{i:02}" for i in range(60)]
    assert unknown_name("pet", "xyz", many).endswith(
        "known: " + ", ".join(many[:24]) + " and 36 more"
    )


def test_a_name_is_imported_on_use_and_an_unknown_one_is_refused():
    assert lookup("thing", {"a": "json:dumps"}, "a")([1]) == "[1]"
    with pytest.raises(ConfigError, match="unknown thing 'b'"):
        lookup("thing", {"a": "json:dumps"}, "b")


def test_an_environment_has_its_own_preset_or_its_suites():
    assert default_preset("CartPole-v1") == "cartpole"
    assert default_preset("MountainCar-v0") == "mountaincar-icm"
    assert default_preset("Blackjack-v1") == "gym-control"
    assert default_preset("Hopper-v2") == default_preset("Hopper-v5") == "mujoco-ppo"
    assert default_preset("HalfCheetah-v5") == "halfcheetah"
    assert default_preset("dm.hopper.stand") == "mujoco-ppo"
    assert default_preset("ALE/Pong-v5") == "atari-ppo"
    assert default_preset("starpilot") == "procgen-easy"


def test_an_algorithm_has_presets_of_its_own_where_there_are_some():
    assert default_preset("CartPole-v1", "a2c") == "cartpole-a2c"
    assert default_preset("Hopper-v5", "a2c") == default_preset("Acrobot-v1", "a2c") == "mujoco-a2c"
    assert default_preset("ALE/Pong-v5", "a2c") == "atari-a2c"
    assert default_preset("CartPole-v1,Acrobot-v1", "a2c") == "mujoco-a2c"
    assert default_preset("starpilot", "a2c") == default_preset("maze_aisc", "a2c") == "atari-a2c"
    assert default_preset("MountainCar-v0", "a2c") == "mujoco-a2c"
    assert default_preset("probe:box", "acktr") == "cartpole-acktr"
    assert default_preset("Hopper-v5", "acktr") == "mujoco-acktr"
    assert default_preset("CartPole-v1", "ppg") == "cartpole"
    named = parse_command(["train", "CartPole-v1", "--algorithm", "a2c"])
    assert (named.preset, named.config.learning.num_epochs) == ("cartpole-a2c", 1)


ENVS = {
    "atari": "ALE/Pong-v5", "dmc": "dm.hopper.stand", "gym": "MountainCar-v0",
    "oldgym": "oldgym:CartPole-v1", "probe": "probe:image", "procgen": "coinrun",
    "pybullet": "HopperBulletEnv-v0", "user": "user:json:make_env",
}  # fmt: skip


@pytest.mark.parametrize("algorithm", ["ppo", *PRESETS_OF_ALGORITHMS])
@pytest.mark.parametrize("suite", SUITES)
def test_an_algorithm_is_asked_for_by_its_name_alone_in_every_suite(suite, algorithm):
    command = parse_command(["train", ENVS[suite], "--algorithm", algorithm])
    command.config.validate(1)
    assert command.config.learning.algorithm == algorithm
    assert split_env_name(command.config.environment.env)[0] == suite
    assert command.config.without_effect() == []


def test_every_registered_preset_is_there():
    for table in PRESETS_OF_ALGORITHMS.values():
        assert set(table.values()) <= set(preset_names())
        assert set(SUITES) == {name for name in table if ":" not in name} | {"gym"}
    assert set(DEFAULT_PRESETS.values()) <= set(preset_names())
    assert set(SUITES) <= set(DEFAULT_PRESETS)


@pytest.mark.parametrize("target", [*ALGORITHMS.values(), *NETWORKS.values(), *SUITES.values()])
def test_every_registered_module_is_there(target):
    module, _, attribute = target.partition(":")
    assert importlib.util.find_spec(module) is not None
    assert attribute


def test_several_environments_are_of_one_suite_and_keep_its_name():
    assert names_of("coinrun,maze") == ("coinrun", "maze")
    assert names_of("atari:Pong, Breakout") == ("atari:Pong", "atari:Breakout")
    assert names_of("my.module:A,coinrun") == ("my.module:A", "coinrun")
    assert split_env_name("procgen:coinrun,maze") == ("procgen", "coinrun,maze")
    assert split_env_name("coinrun,procgen:maze,coinrun") == ("procgen", "coinrun,maze,coinrun")
    assert task_names("coinrun,maze,coinrun") == ("coinrun", "maze")
    with pytest.raises(ConfigError, match="is of the suites procgen and gym; .* of one suite"):
        split_env_name("coinrun,CartPole-v1")
    with pytest.raises(ConfigError, match="has an empty name in its list"):
        split_env_name("coinrun,,maze")
    with pytest.raises(ConfigError, match="unknown Procgen game 'maz'"):
        split_env_name("procgen:coinrun,maz")


def test_the_preset_of_several_is_theirs_if_they_agree_and_else_their_suites():
    assert default_preset("coinrun,maze") == default_preset("coinrun")
    assert default_preset("maze_aisc,coinrun_aisc") == default_preset("maze_aisc")
    assert default_preset("maze_aisc,coinrun") == default_preset("coinrun")
    assert default_preset("CartPole-v1,Acrobot-v1") == "gym-control"
