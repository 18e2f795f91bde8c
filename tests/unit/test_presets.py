"""The published settings."""

from __future__ import annotations

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.cli_sources import preset_names, preset_text
from ppo_mpi.envs.atari_options import resolve
from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import PresetsConfig
from ppo_mpi.modes.presets import description, presets_command
from ppo_mpi.registry import split_env_name


def test_the_promised_presets_are_there():
    promised = {"procgen-easy", "procgen-easy-200", "procgen-hard", "procgen-hard-500"}
    promised |= {"procgen-paper-easy", "procgen-paper-hard", "procgen-quick"}
    promised |= {"cartpole", "acrobot", "lunarlander", "gym-control", "probe"}
    promised |= {"mountaincar-icm"}
    promised |= {"atari-ppo"}
    assert promised <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_says_what_it_is(name):
    command = parse_command(["train", "--preset", name])
    assert command.preset == name
    command.config.validate(world_size=command.config.environment.num_envs)
    assert 20 < len(description(preset_text(name))) < 100


@pytest.mark.parametrize("name", preset_names())
def test_every_environment_of_a_preset_has_enough_timesteps_for_the_minibatches(name):
    config = parse_command(["train", "--preset", name]).config
    assert config.rollout_steps >= min(config.learning.num_minibatches, 32)
    assert config.num_iterations > 1


@pytest.mark.parametrize(
    ("name", "num_envs", "num_levels", "mode", "total", "minibatch"),
    [
        ("procgen-easy", 64, 0, "easy", 25_000_000, 2_048),
        ("procgen-easy-200", 128, 200, "easy", 25_000_000, 4_096),
        ("procgen-hard", 256, 0, "hard", 200_000_000, 8_192),
        ("procgen-hard-500", 512, 500, "hard", 200_000_000, 16_384),
        ("procgen-paper-easy", 64, 0, "easy", 25_000_000, 2_048),
        ("procgen-paper-hard", 256, 0, "hard", 200_000_000, 8_192),
    ],
)
def test_the_procgen_presets_have_the_published_numbers(
    name, num_envs, num_levels, mode, total, minibatch
):
    config = parse_command(["train", "--preset", name]).config
    learning, procgen = config.learning, config.procgen
    assert (config.environment.num_envs, config.rollout_steps) == (num_envs, 256)
    assert (procgen.num_levels, procgen.distribution_mode) == (num_levels, mode)
    assert config.job.total_timesteps == total
    assert learning.rollout_timesteps // learning.num_minibatches == minibatch
    assert (learning.num_epochs, learning.discount, learning.gae_lambda) == (3, 0.999, 0.95)
    assert (learning.learning_rate, learning.clip_range) == (5e-4, 0.2)
    assert (learning.value_coef, learning.entropy_coef) == (0.5, 0.01)
    assert (learning.max_grad_norm, learning.reward_discount) == (0.5, 0.99)
    is_paper = "paper" in name
    assert learning.learning_rate_schedule == ("constant" if is_paper else "linear")
    assert learning.normalize_advantages == ("minibatch" if is_paper else "rollout")


@pytest.mark.parametrize("name", [n for n in preset_names() if "-ram" in n or "-pixels" in n])
def test_ppo_and_friends_games_never_repeat_an_action_of_their_own_accord(name):
    config = parse_command(["train", "--preset", name]).config
    options = resolve(split_env_name(config.environment.env)[1], config.atari)
    assert (options.sticky_actions, options.frame_skip) == (0.0, (4, 4))
    assert options.shows_ram == ("-ram" in name)


def test_listing_shows_every_preset_and_naming_one_prints_its_file(capsys):
    assert presets_command(PresetsConfig()) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in preset_names())
    assert presets_command(PresetsConfig("cartpole")) == 0
    assert capsys.readouterr().out == preset_text("cartpole")


def test_an_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="unknown preset 'cartpol'; did you mean cartpole"):
        presets_command(PresetsConfig("cartpol"))
