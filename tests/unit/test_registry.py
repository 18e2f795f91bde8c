"""Names that a user types -> code."""

from __future__ import annotations

import importlib.util

import pytest

from ppo_mpi.cli_sources import preset_names
from ppo_mpi.errors import ConfigError
from ppo_mpi.registry import (
    ALGORITHMS,
    DEFAULT_PRESETS,
    NETWORKS,
    SUITES,
    default_preset,
    lookup,
    split_env_name,
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
    ],
)
def test_an_environment_is_a_suite_and_a_task(env, expected):
    assert split_env_name(env) == expected


def test_an_unknown_game_or_suite_lists_what_is_known():
    with pytest.raises(ConfigError, match="unknown Procgen game 'coinrn'; did you mean coinrun"):
        split_env_name("procgen:coinrn")
    with pytest.raises(
        ConfigError, match="unknown environment suite 'x'; known: atari, gym, probe"
    ):
        split_env_name("x:y")


def test_the_message_lists_near_names_first_and_all_otherwise():
    assert unknown_name("pet", "cta", ["dog", "cat"]) == "unknown pet 'cta'; did you mean cat?"
    assert unknown_name("pet", "xyz", ["dog", "cat"]) == "unknown pet 'xyz'; known: cat, dog"


def test_a_name_is_imported_on_use_and_an_unknown_one_is_refused():
    assert lookup("thing", {"a": "json:dumps"}, "a")([1]) == "[1]"
    with pytest.raises(ConfigError, match="unknown thing 'b'"):
        lookup("thing", {"a": "json:dumps"}, "b")


def test_an_environment_has_its_own_preset_or_its_suites():
    assert default_preset("CartPole-v1") == "cartpole"
    assert default_preset("MountainCar-v0") == "gym-control"
    assert default_preset("starpilot") == "procgen-easy"


def test_every_registered_preset_is_there():
    assert set(DEFAULT_PRESETS.values()) <= set(preset_names())
    assert set(SUITES) <= set(DEFAULT_PRESETS)


@pytest.mark.parametrize("target", [*ALGORITHMS.values(), *NETWORKS.values(), *SUITES.values()])
def test_every_registered_module_is_there(target):
    module, _, attribute = target.partition(":")
    assert importlib.util.find_spec(module) is not None
    assert attribute
