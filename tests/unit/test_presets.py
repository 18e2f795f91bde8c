"""The published settings."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.cli_sources import preset_names, preset_text
from ppo_mpi.config import flatten
from ppo_mpi.envs.atari_options import resolve
from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import PresetsConfig
from ppo_mpi.modes.presets import description, presets_command
from ppo_mpi.registry import split_env_name


def test_the_promised_presets_are_there():
    promised = {"procgen-easy", "procgen-easy-200", "procgen-hard", "procgen-hard-500"}
    promised |= {"procgen-paper-easy", "procgen-paper-hard", "procgen-quick"}
    promised |= {"cartpole", "acrobot", "lunarlander", "gym-control", "probe"}
    promised |= {"mountaincar-icm", "mujoco-ppo", "halfcheetah", "images", "friends-cartpole"}
    promised |= {"friends-mountaincar", "friends-mountaincar-continuous"}
    promised |= {"atari-ppo", "procgen-ppg-easy", "procgen-ppg-hard", "cartpole-ppg"}
    promised |= {"procgen-drac", "procgen-rad-crop", "procgen-ucb-drac"}
    promised |= {"cartpole-gail", "mujoco-gail", "pendulum-gail"}
    promised |= {"atari-recurrent", "misgen-hard-rec", "misgen-hard-local-dev-rec"}
    promised |= {"atari-a2c", "mujoco-a2c", "cartpole-a2c"}
    promised |= {"atari-acktr", "mujoco-acktr", "cartpole-acktr"}
    assert promised <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_says_what_it_is(name):
    command = parse_command(["train", "--preset", name])
    assert command.preset == name
    command.config.validate(world_size=command.config.environment.num_envs)
    assert 20 < len(description(preset_text(name))) < 100


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_has_a_setting_without_effect(name):
    assert parse_command(["train", "--preset", name]).config.without_effect() == []


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


@pytest.mark.parametrize(
    ("name", "augmentation", "method"),
    [
        ("procgen-drac", "crop", "drac"),
        ("procgen-rad-crop", "crop", "rad"),
        ("procgen-ucb-drac", "ucb", "drac"),
    ],
)
def test_the_presets_of_changed_images_have_the_published_numbers(name, augmentation, method):
    config = parse_command(["train", "--preset", name]).config
    learning, own = config.learning, config.augmentation
    assert (own.augmentation, own.augmentation_method) == (augmentation, method)
    assert (own.drac_coef, own.ucb_coef, own.ucb_window) == (0.1, 0.1, 10)
    assert len(own.ucb_choices) == (8 if augmentation == "ucb" else 0)
    assert (config.environment.num_envs, config.rollout_steps) == (64, 256)
    assert (config.procgen.num_levels, config.procgen.distribution_mode) == (200, "easy")
    assert config.job.total_timesteps == 25_000_000
    assert (learning.num_epochs, learning.num_minibatches) == (3, 8)
    assert (learning.discount, learning.gae_lambda) == (0.999, 0.95)
    assert (learning.learning_rate, learning.learning_rate_schedule) == (5e-4, "constant")
    assert (learning.clip_range, learning.clip_values) == (0.2, True)
    assert (learning.value_loss, learning.value_coef) == ("half_squared", 0.5)
    assert (learning.entropy_coef, learning.max_grad_norm) == (0.01, 0.5)
    assert (learning.adam_epsilon, learning.normalize_advantages) == (1e-5, "rollout")
    assert learning.normalize_rewards


@pytest.mark.parametrize(
    ("name", "num_envs", "mode", "total", "aux_minibatch"),
    [
        ("procgen-ppg-hard", 256, "hard", 100_000_000, 4_096),
        ("procgen-ppg-easy", 64, "easy", 25_000_000, 1_024),
    ],
)
def test_the_phasic_presets_have_the_published_numbers(name, num_envs, mode, total, aux_minibatch):
    config = parse_command(["train", "--preset", name]).config
    learning, ppg = config.learning, config.ppg
    assert (config.environment.num_envs, config.rollout_steps) == (num_envs, 256)
    assert (config.procgen.num_levels, config.procgen.distribution_mode) == (0, mode)
    assert config.job.total_timesteps == total
    assert (learning.algorithm, config.network.shared_torso) == ("ppg", False)
    assert (ppg.policy_iterations, learning.num_epochs, ppg.value_epochs) == (32, 1, 1)
    assert (ppg.aux_epochs, ppg.clone_coef, ppg.aux_learning_rate) == (6, 1.0, 5e-4)
    assert learning.rollout_timesteps // ppg.aux_minibatches == aux_minibatch
    assert learning.num_minibatches == 8
    assert (learning.discount, learning.gae_lambda, learning.entropy_coef) == (0.999, 0.95, 0.01)
    assert (learning.learning_rate, learning.learning_rate_schedule) == (5e-4, "constant")
    assert (learning.clip_range, learning.clip_values, learning.max_grad_norm) == (0.2, False, 0)
    assert (learning.value_loss, learning.value_coef) == ("half_squared", 1.0)
    assert learning.normalize_rewards
    assert config.job.checkpoint_every % ppg.policy_iterations == 0


@pytest.mark.parametrize(
    ("name", "num_envs", "steps", "mode", "total", "minibatch"),
    [
        ("misgen-debug", 2, 64, "easy", 12_800, 32),
        ("misgen-easy", 64, 256, "easy", 25_000_000, 2_048),
        ("misgen-easy-200", 128, 256, "easy", 25_000_000, 4_096),
        ("misgen-hard", 128, 256, "hard", 200_000_000, 4_096),
        ("misgen-hard-500", 256, 256, "hard", 200_000_000, 8_192),
        ("misgen-hard-500-mem", 256, 256, "memory", 200_000_000, 8_192),
        ("misgen-hard-local-dev", 16, 256, "hard", 200_000_000, 512),
        ("misgen-a100", 512, 256, "hard", 80_000_000, 8_192),
        ("misgen-a100-large", 512, 256, "hard", 80_000_000, 8_192),
    ],
)
def test_the_presets_of_goal_misgeneralization_have_the_published_numbers(
    name, num_envs, steps, mode, total, minibatch
):
    config = parse_command(["train", "--preset", name]).config
    learning = config.learning
    assert (config.environment.num_envs, config.rollout_steps) == (num_envs, steps)
    assert (config.procgen.distribution_mode, config.job.total_timesteps) == (mode, total)
    assert learning.rollout_timesteps // learning.num_minibatches == minibatch
    assert learning.num_epochs == (1 if name == "misgen-debug" else 3)
    assert (learning.learning_rate, learning.discount, learning.gae_lambda) == (5e-4, 0.999, 0.95)
    assert config.network.channel_multiplier == (4 if name.endswith("large") else 1)


@pytest.mark.parametrize(
    ("name", "num_envs", "steps", "minibatch", "total"),
    [
        ("misgen-hard-rec", 256, 256, 8_192, 200_000_000),
        ("misgen-hard-local-dev-rec", 16, 256, 512, 200_000_000),
        ("atari-recurrent", 8, 128, 256, 10_000_000),
    ],
)
def test_the_recurrent_presets_have_the_published_numbers(name, num_envs, steps, minibatch, total):
    config = parse_command(["train", "--preset", name]).config
    learning, network = config.learning, config.network
    assert (config.environment.num_envs, config.rollout_steps) == (num_envs, steps)
    assert learning.rollout_timesteps // learning.num_minibatches == minibatch
    assert config.job.total_timesteps == total
    assert (network.recurrent, network.recurrent_size, learning.sequence_steps) == ("gru", 0, 0)
    assert (learning.value_coef, learning.entropy_coef, learning.max_grad_norm) == (0.5, 0.01, 0.5)
    assert learning.learning_rate_schedule == "linear"
    assert learning.normalize_advantages == "rollout"
    if name == "atari-recurrent":
        assert (network.network, network.conv_channels) == ("nature", (32, 64, 64))
        assert (network.feature_size, learning.num_epochs, learning.clip_range) == (512, 4, 0.1)
        assert (learning.discount, learning.learning_rate) == (0.99, 2.5e-4)
        assert not learning.normalize_rewards
    else:
        assert config.procgen.distribution_mode == "hard"
        assert (network.network, learning.num_epochs) == ("impala", 3)
        assert (learning.discount, learning.learning_rate) == (0.999, 5e-4)
        assert learning.normalize_rewards


def test_a_preset_says_only_what_is_different_from_the_one_it_builds_on(capsys):
    whole, one = (
        flatten(parse_command(["train", "--preset", f"friends-hopper{name}"]).config)
        for name in ("", "-original")
    )
    assert {name: whole[name] for name in whole if whole[name] != one[name]} == {"num_envs": 8}
    assert one["num_envs"] == 1
    presets_command(PresetsConfig("friends-hopper-original"))
    printed = capsys.readouterr().out
    names = ("friends-hopper-original", "friends-hopper", "friends")
    assert [printed.index(preset_text(name)) for name in names] == sorted(
        printed.index(preset_text(name)) for name in names
    )


@pytest.mark.parametrize("name", [name for name in preset_names() if name.endswith("-original")])
def test_an_original_has_as_many_timesteps_as_the_preset_for_several_ranks(name):
    one, several = (
        parse_command(["train", "--preset", preset]).config
        for preset in (name, name.removesuffix("-original"))
    )
    assert one.environment.num_envs == 1
    assert several.environment.num_envs >= 8
    assert one.learning.rollout_timesteps == several.learning.rollout_timesteps


@pytest.mark.parametrize("task", ["mountaincar", "mountaincar-continuous"])
def test_the_curious_presets_of_ppo_and_friends_have_the_published_numbers(task):
    config = parse_command(["train", "--preset", f"friends-{task}"]).config
    learning, network, rewards = config.learning, config.network, config.rewards
    is_continuous = task.endswith("continuous")
    size = 64 if is_continuous else 128
    assert (network.hidden_sizes, network.value_hidden_sizes) == ((size,) * 3, (128,) * 3)
    minibatch = learning.rollout_timesteps // learning.num_minibatches
    assert (learning.rollout_timesteps, minibatch) == (2048, 512 if is_continuous else 256)
    assert learning.max_segment_steps == (128 if is_continuous else 200)
    assert (learning.bootstrap_clip, learning.bootstrap_clip_dynamic) == ((-10, 10), True)
    normalizes = learning.normalize_observations, learning.normalize_rewards
    assert normalizes == (False, False)
    weights = (rewards.reward_model, rewards.extrinsic_weight, rewards.intrinsic_weight)
    assert weights == ("icm", 0.01, 50 if is_continuous else 1)
    sizes = (rewards.encoder_hidden_sizes, rewards.inverse_hidden_sizes)
    assert sizes == ((128,) * 3, (128,) * 2)


def test_the_tasks_of_ppo_and_friends_with_a_target_of_their_own_stop_at_one_and_a_half_times_it():
    targets = {"lunarlander": 0.015, "lunarlander-continuous": 0.015, "ant": 1.0, "hopper": None}
    for task, target in targets.items():
        learning = parse_command(["train", "--preset", f"friends-{task}"]).config.learning
        factor = 1.0 if target is None else 1.5
        assert (learning.target_kl, learning.kl_stop_factor) == (target, factor)


def test_breakout_from_memory_in_its_latest_form_has_the_runner_s_numbers():
    config = parse_command(["train", "--preset", "friends-breakout-ram-llnl"]).config
    learning, network = config.learning, config.network
    assert (network.hidden_sizes, network.value_hidden_sizes) == ((256,) * 3, (512,) * 3)
    assert (learning.bootstrap_clip, learning.reward_bounds) == ((), (-1, 1))
    assert (learning.normalize_rewards, learning.normalize_values) == (True, True)
    assert not learning.normalize_observations


def test_the_deviations_of_ppo_and_friends_begin_as_published():
    for name, offset in (("friends-hopper", 0.5), ("friends-bipedalwalker", 0.1)):
        first = parse_command(["train", "--preset", name]).config.network.initial_log_std
        assert first == pytest.approx(math.log(math.log1p(math.exp(-offset))), abs=5e-5)


@pytest.mark.parametrize(
    "name",
    ["bipedalwalker-hardcore", "breakout-pixels-llnl", "breakout-ram-llnl", "mario-bros-ram-llnl"],
)
def test_later_presets_of_ppo_and_friends_normalize_values_and_one_environment_begins_anew(name):
    for ending, soft_resets in (("", "on"), ("-original", "off")):
        command = parse_command(["train", "--preset", f"friends-{name}{ending}"])
        learning = command.config.learning
        assert (learning.normalize_values, learning.soft_resets) == (True, soft_resets)


@pytest.mark.parametrize("name", [n for n in preset_names() if "-ram" in n or "-pixels" in n])
def test_ppo_and_friends_games_repeat_an_action_of_their_own_accord_in_one_preset_only(name):
    sticky = 0.25 if "breakout-ram-llnl" in name else 0.0
    config = parse_command(["train", "--preset", name]).config
    options = resolve(split_env_name(config.environment.env)[1], config.atari)
    assert (options.sticky_actions, options.frame_skip) == (sticky, (4, 4))
    assert options.shows_ram == ("-ram" in name)


def test_listing_shows_every_preset_and_naming_one_prints_its_file(capsys):
    assert presets_command(PresetsConfig()) == 0
    listed = capsys.readouterr().out
    shown = [name for name in preset_names() if not name.endswith("-original")]
    assert [line.split()[0] for line in listed.splitlines()[: len(shown)]] == shown
    num_hidden = len(preset_names()) - len(shown)
    assert f"{num_hidden} more by these names with -original behind them" in listed
    assert presets_command(PresetsConfig(all=True)) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()[:-2]] == preset_names()
    assert presets_command(PresetsConfig("cartpole")) == 0
    assert capsys.readouterr().out == preset_text("cartpole")


def test_an_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="unknown preset 'cartpol'; did you mean cartpole"):
        presets_command(PresetsConfig("cartpol"))


def test_the_imitation_preset_has_the_published_numbers():
    config = parse_command(["train", "--preset", "mujoco-gail"]).config
    learning, own, rewards = config.learning, config.imitation, config.rewards
    plain = parse_command(["train", "--preset", "mujoco-ppo"]).config
    assert (rewards.reward_model, rewards.extrinsic_weight) == ("gail", 0.0)
    assert (rewards.reward_learning_rate, rewards.normalize_intrinsic_rewards) == (1e-3, "on")
    assert (own.gail_reward, own.gail_batch_size, own.gail_epochs) == ("logit", 128, 5)
    assert (own.gail_first_epochs, own.gail_first_iterations) == (100, 10)
    assert (own.gradient_penalty, own.discriminator_hidden_sizes) == (10.0, (100, 100))
    assert config.job.total_timesteps == 10_000_000
    assert config.network == plain.network
    assert replace(learning, normalize_rewards=True) == plain.learning
