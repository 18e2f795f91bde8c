"""The command line, from words to a checked config."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest
import yaml

from ppo_mpi.cli import OLD_NAMES, parse_command
from ppo_mpi.cli_fields import config_fields
from ppo_mpi.cli_modes import MODES, TrainOptions
from ppo_mpi.cli_values import parse_count
from ppo_mpi.cli_words import split_words
from ppo_mpi.config import TrainConfig, flatten, sections
from ppo_mpi.errors import ConfigError


def error_of(*words: str) -> str:
    """Return the message with which the command line refuses ``words``."""
    with pytest.raises(ConfigError) as caught:
        parse_command(words)
    message = str(caught.value)
    assert "\n" not in message, "a mistake is answered in one line"
    return message


@pytest.mark.parametrize(
    "words",
    [
        ["train", "coinrun", "--num-envs", "16"],
        ["train", "--env", "coinrun", "--num_envs=16"],
        ["mode=train", "env=coinrun", "num-envs=16"],
        ["--mode=train", "coinrun", "num_envs=16"],
        ["coinrun", "--num-envs", "16", "--mode", "train"],
        ["--num-envs", "16", "train", "coinrun"],
        ["train", "--environment.env", "coinrun", "--environment.num-envs", "16"],
    ],
)
def test_every_usual_spelling_means_the_same(words):
    command = parse_command(words)
    assert command.mode == "train"
    assert command.given == {"env": "procgen:coinrun", "num_envs": 16}


@pytest.mark.parametrize(
    ("text", "number"),
    [("64", 64), ("25e6", 25_000_000), ("25M", 25_000_000), ("25_000_000", 25_000_000),
     ("64k", 64_000), ("1.5k", 1_500), ("-1", -1)],
)  # fmt: skip
def test_counts_are_read_as_people_write_them(text, number):
    assert parse_count(text) == number


@pytest.mark.parametrize("text", ["", "x", "2.5", "1e999999999", "nan", "inf", "k", "1e-3"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ValueError, match="is not a"):
        parse_count(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--clip-values"], True),
        (["--no-clip-values"], False),
        (["--no_clip_values"], False),
        (["--learning.no-clip-values"], False),
        (["--clip-values", "false"], False),
        (["--clip-values=off"], False),
        (["clip_values=0"], False),
        (["clip_values=Yes"], True),
    ],
)
def test_booleans_are_flags_or_have_a_value(words, expected):
    command = parse_command(["train", *words, "coinrun"])
    assert command.config.learning.clip_values is expected
    assert command.config.environment.env == "procgen:coinrun"


@pytest.mark.parametrize(
    "words", [["--hidden-sizes", "8", "16"], ["--hidden-sizes=8,16"], ["hidden_sizes=8,16"]]
)
def test_tuples_are_words_or_have_commas(words):
    command = parse_command(["train", *words, "--seed", "3"])
    assert command.config.network.hidden_sizes == (8, 16)
    assert command.config.job.seed == 3


def test_a_list_of_numbers_ends_at_the_next_word():
    command = parse_command(["train", "--hidden-sizes", "8", "16", "CartPole-v1"])
    assert command.config.network.hidden_sizes == (8, 16)
    assert command.config.environment.env == "gym:CartPole-v1"


def test_environment_arguments_keep_their_equals_signs():
    command = parse_command(["train", "CartPole-v1", "--env-kwargs", "a=1", "b=[2, 3]"])
    assert command.config.environment.env_kwargs == ("a=1", "b=[2, 3]")


def test_an_optional_number_may_be_none_or_set():
    assert parse_command(["train", "--target-kl", "0.02"]).config.learning.target_kl == 0.02
    assert parse_command(["train", "--target-kl", "none"]).config.learning.target_kl is None


def test_later_words_win_over_earlier_ones():
    assert parse_command(["train", "--seed", "1", "--seed", "2"]).config.job.seed == 2


@pytest.mark.parametrize("mode", ["play", "record", "evaluate"])
def test_the_plain_word_is_the_run_where_an_agent_is_looked_at(mode):
    assert parse_command([mode, "mine"]).config.run == "mine"
    assert parse_command([f"mode={mode}", "--run", "a/b"]).config.run == "a/b"


def test_names_of_the_reference_systems_are_accepted_with_a_note():
    words = ["--env_name", "starpilot", "--exp_name", "t", "--param_name", "easy-200"]
    command = parse_command(["train", *words, "--num_timesteps", "26e6", "--rng_seed", "5"])
    job = command.config.job
    assert command.preset == "procgen-easy-200"
    assert command.config.environment.env == "procgen:starpilot"
    assert (job.run, job.total_timesteps, job.seed) == ("t", 26_000_000, 5)
    assert "env_name is called env here" in command.notes
    assert "the preset easy-200 is called procgen-easy-200 here" in command.notes


def test_a_name_that_is_ours_as_well_is_taken_without_a_word():
    command = parse_command(["train", "coinrun", "--ui", "off"])
    assert not any("ui" in note.split() for note in command.notes)


def test_every_old_name_leads_to_a_name_that_exists_and_hides_none():
    known = set(config_fields(TrainConfig)) | set(config_fields(TrainOptions))
    assert set(OLD_NAMES.values()) <= known
    for mode in MODES.values():
        assert not set(OLD_NAMES) & set(config_fields(mode.config_class))


def test_the_preset_of_the_environment_is_used_and_named():
    command = parse_command(["train", "CartPole-v1"])
    assert command.preset == "cartpole"
    assert command.notes == ["preset cartpole, as registered for gym:CartPole-v1"]
    assert command.given == {"env": "gym:CartPole-v1"}
    assert parse_command(["train"]).preset == "procgen-easy"
    (note,) = parse_command(["train", "--run", "mine"]).notes  # the name may be mistyped
    assert note.endswith("as no environment is named and the run mine is a new one")


def test_a_preset_names_its_environment_unless_one_is_typed():
    assert parse_command(["train", "--preset", "cartpole"]).config.environment.env == (
        "gym:CartPole-v1"
    )
    typed = parse_command(["train", "Acrobot-v1", "--preset", "cartpole"])
    assert typed.config.environment.env == "gym:Acrobot-v1"


def test_sources_win_in_order_and_each_value_knows_its_origin(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("# mine\nnum_levels: 300\nlearning:\n  discount: 0.9\n  num-epochs: 2\n")
    words = ["--preset", "procgen-easy-200", "--config", str(file), "--discount", "0.8"]
    command = parse_command(["train", *words])
    values = flatten(command.config)
    assert values["num_envs"] == 128
    assert values["num_levels"] == 300
    assert values["discount"] == 0.8
    assert values["num_epochs"] == 2
    assert command.origins["num_envs"].startswith("preset procgen-easy-200:")
    assert command.origins["num_levels"] == f"{file}:2"
    assert command.origins["num_epochs"] == f"{file}:5"
    assert command.origins["discount"] == "command line"
    assert command.origins["seed"] == "default"
    assert set(command.origins) == set(values)
    assert {"num_envs", "num_levels", "discount"} <= set(command.given)
    assert "seed" not in command.given


def test_a_runs_whole_config_is_read_back_without_any_preset(tmp_path):
    words = ["train", "starpilot", "--hidden-sizes", "8", "--target-kl", "0.1", "--run", "a b"]
    config = parse_command([*words, "--soft-resets", "off", "--num-levels", "7"]).config
    tree = {name: dict(vars(section)) for name, section in sections(config).items()}
    tree["network"]["hidden_sizes"] = list(config.network.hidden_sizes)
    tree["environment"]["env_kwargs"] = []
    flat = {key: value for section in tree.values() for key, value in section.items()}
    for number, content in enumerate((tree, flat)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(content))
        command = parse_command(["train", "--config", str(file)])
        assert command.config == config
        assert command.preset == ""
        assert command.notes == []


def test_yaml_has_the_fields_type_not_yamls(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(
        "learning_rate: 5e-4\ntotal_timesteps: 26e6\nsoft_resets: off\nrun: 010\ntarget_kl: ~\n"
    )
    command = parse_command(["train", "--config", str(file)])
    assert command.config.learning.learning_rate == 5e-4
    assert command.config.learning.soft_resets == "off"
    assert command.config.learning.target_kl is None
    assert command.config.job.total_timesteps == 26_000_000
    assert command.config.job.run == "010"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 1\nnum_evns: 3\n", "unknown setting 'num_evns' ({file}:2); did you mean num_envs"),
        ("seed: x\n", "seed='x' ({file}:1) is not a whole number"),
        ("seed: [1\n", "{file}:2: not YAML: expected"),
        ("- 1\n", "{file}:1: the file must hold lines of the form"),
        ("seed: 1\njob:\n  seed: 2\n", "seed is set twice, in {file}:1 and in {file}:3"),
        ("seed: {a: 1}\n", "seed ({file}:1) must be one value or a list of values"),
        ("learning:\n  seed: 1\n", "unknown setting 'seed' ({file}:2)"),
    ],
)
def test_a_mistake_in_a_file_is_answered_with_its_line(tmp_path, content, message):
    file = tmp_path / "my.yaml"
    file.write_text(content)
    assert message.format(file=file) in error_of("train", "--config", str(file))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert "No such file" in error_of("train", "--config", str(tmp_path / "no.yaml"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in error_of("train", "--config", str(tmp_path / "binary"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tain"], "unknown mode 'tain'; did you mean train?"),
        (["--seed", "3"], "no mode given; begin with one of train, play"),
        (["train", "--num-evns", "3"], "unknown setting '--num-evns'; did you mean --num-envs"),
        (["train", "--num-env", "3"], "unknown setting '--num-env'; did you mean --num-envs"),
        (["train", "num_evns=3"], "unknown setting 'num_evns'; did you mean num_envs"),
        (["train", "--procgen.seed", "3"], "unknown setting '--procgen.seed'"),
        (["train", "--xyzzy"], "unknown setting '--xyzzy'; --help lists all"),
        (["evaluate", "--num-levels", "3"], "unknown setting '--num-levels'; did you mean"),
        (["train", "-s", "3"], "unknown option '-s'"),
        (["train", "--seed"], "--seed needs a value"),
        (["train", "--seed", "--clobber"], "--seed needs a value"),
        (["train", "--no-clobber=true"], "--no-clobber takes no value"),
        (["train", "a", "b"], "unexpected word 'b'; after train stands at most one word, the env"),
        (["doctor", "a"], "unexpected word 'a'"),
        (["train", "--num-envs", "abc"], "num_envs='abc' (command line) is not a whole number"),
        (["train", "--num-envs", "2.5"], "num_envs='2.5' (command line) is not a whole number"),
        (["train", "--discount", "x"], "discount='x' (command line) is not a number"),
        (["train", "--target-kl", "x"], "is not a number (0.5, 5e-4), or none"),
        (["train", "clip_values=maybe"], "is not true or false"),
        (["train", "--hidden-sizes", "a"], "is not a list of whole numbers"),
        (["train", "--bootstrap-clip", "a"], "is not a list of numbers such as -10 10"),
        (["train", "--soft-resets", "schedule"], "one of on, off, scheduled; did you mean sched"),
        (
            ["train", "coinrn"],
            "unknown environment 'coinrn'; did you mean coinrun or coinrun_aisc?",
        ),
        (["train", "procgen:x"], "unknown Procgen game 'x'; known: bigfish, "),
        (["train", "atori:Pong"], "env=atori:Pong: there is neither a suite nor a module atori"),
        (["train", "procgn:coinrun"], "neither a suite nor a module procgn; did you mean procgen?"),
        (["train", "--preset", "acrobt"], "unknown preset 'acrobt'; did you mean acrobot"),
        (["train", "--learning-rate", "nan"], "learning_rate=nan must be greater than 0"),
        (["train", "--seed", "-1"], "seed=-1 is too small; use 0 or more"),
        (["doctor", "--env", "coinrun"], "unknown setting '--env'"),
        (["evaluate", "--levels", "some"], "levels='some' is not known; use train, test, both"),
        (["evaluate", "--levels", "5:5"], "levels=5:5 is empty"),
        (["play", "--levels", "both"], "levels='both' is not known; use train, test, A:B"),
        (["record", "--grid", "4"], "grid='4' is not ROWSxCOLUMNS"),
        (["record", "--size", "33"], "size=33 must be even"),
    ],
)
def test_a_mistake_is_answered_in_one_line_with_the_remedy(words, message):
    assert message in error_of(*words)


def test_a_range_of_numbers_may_begin_below_0():
    words = ["train", "CartPole-v1", "--value-target", "reward_to_go"]
    learning = parse_command([*words, "--bootstrap-clip", "-10", "4.5"]).config.learning
    assert learning.bootstrap_clip == (-10.0, 4.5)
    assert parse_command(words).config.learning.bootstrap_clip == ()


def test_what_is_done_with_settings_is_not_part_of_them():
    command = parse_command(["train", "--clobber", "--dry-run"])
    assert command.clobber
    assert command.dry_run
    assert command.given == {}


@pytest.mark.parametrize("mode", MODES)
def test_help_explains_every_setting_of_the_mode(mode):
    command = parse_command([mode, "--help"])
    assert command.mode == "help"
    known = config_fields(MODES[mode].config_class)
    if mode == "train":
        known |= config_fields(TrainOptions)
    for name in known:
        assert f"--{name.replace('_', '-')}" in command.config
    if mode == "train":
        for section in fields(TrainConfig):
            assert f"{section.name} options" in command.config
        assert "Discount of the return, gamma" in command.config


def test_help_without_a_mode_lists_the_modes():
    text = parse_command(["--help"]).config
    assert all(f"  {mode}" in text for mode in MODES)


def test_words_are_split_without_being_checked():
    settings, plain = split_words(["a", "--x-y", "1", "z=2", "-3"], {})
    assert [(s.key, s.values) for s in settings] == [("x_y", ("1",)), ("z", ("2",))]
    assert plain == ["a", "-3"]


def test_parsing_imports_nothing_heavy():
    code = (
        "import sys; from ppo_mpi.cli import parse_command; parse_command(['train']); "
        "heavy = {'torch', 'numpy', 'mpi4py', 'gym', 'gymnasium', 'procgen', 'cv2'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("mode", ["evaluate", "record", "play"])
def test_a_corruption_of_a_run_is_taken_away_by_the_word_none(mode):
    assert parse_command([mode, "--corruption", "none"]).config.corruption == "none"
    assert parse_command([mode]).config.corruption == ""
    with pytest.raises(ConfigError, match=r"corruption='mist'.* spatter, or empty"):
        parse_command([mode, "--corruption", "mist"])


def test_the_number_of_ranks_is_the_launchers():
    message = error_of("train", "coinrun", "-np", "4")
    assert message.startswith("-np belongs to the launcher: mpirun -np 4 python -m ppo_mpi")
