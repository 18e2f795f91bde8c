"""What the experiment on goal misgeneralization is going to do: runs, evaluations, videos."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import make_run

from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError
from ppo_mpi.experiments import procgen_benchmark
from ppo_mpi.experiments.goal_misgeneralization import plan
from ppo_mpi.experiments.misgeneralization_pairs import PAIRS, parse_sweep
from ppo_mpi.experiments.runner import asset_folder, experiment_command
from ppo_mpi.registry import PROCGEN_NAMES
from ppo_mpi.settings.experiment import ExperimentConfig


def settings(folder: Path, **changed: object) -> ExperimentConfig:
    config = ExperimentConfig(
        name="goal-misgeneralization", seeds=2, checkpoint_dir=str(folder / "checkpoints"),
        asset_dir=str(folder / "assets"),
    )  # fmt: skip
    return replace(config, **changed)


def test_every_pair_is_planned_with_the_published_settings(tmp_path):
    runs = plan(settings(tmp_path, pair="all"), ())
    assert [run.folder.name for run in runs[:3]] == [
        "coinrun-seed0", "coinrun-seed1", "maze-corner-seed0",
    ]  # fmt: skip
    assert {run.group for run in runs} == set(PAIRS)
    for run in runs:
        config, pair = run.config, PAIRS[run.group]
        assert (config.environment.env, config.environment.test_env) == (
            f"procgen:{pair.train}", f"procgen:{pair.test}",
        )  # fmt: skip
        assert config.environment.num_test_envs == 16
        assert (config.procgen.distribution_mode, config.procgen.num_levels) == ("hard", 100_000)
        assert config.job.total_timesteps == 200_000_000
        assert {pair.train, pair.test} <= {*PROCGEN_NAMES}
    folder = tmp_path / "checkpoints" / "goal-misgeneralization-hard-500"
    assert runs[0].folder == folder / "coinrun-seed0"
    assert asset_folder(settings(tmp_path)).name == folder.name


def test_a_sweep_has_runs_for_each_value_with_the_settings_of_the_published_ablations(tmp_path):
    runs = plan(settings(tmp_path, sweep="random-percent=10,0,2"), ("--network", "nature"))
    assert [run.folder.name for run in runs] == [
        f"coinrun-random_percent{value}-seed{seed}" for value in (0, 2, 10) for seed in (0, 1)
    ]
    assert [run.config.variants.random_percent for run in runs] == [0, 0, 2, 2, 10, 10]
    assert {run.config.environment.num_envs for run in runs} == {512}
    assert {run.config.network.network for run in runs} == {"nature"}
    assert runs[0].folder.parent.name == "goal-misgeneralization-a100-random_percent"
    levels = plan(settings(tmp_path, sweep="num_levels=100,31.6k", preset="misgen-easy"), ())
    assert [run.config.procgen.num_levels for run in levels[::2]] == [100, 31_600]
    regions = plan(settings(tmp_path, sweep="rand_region=0,3", pair="maze-corner"), ())
    assert [run.config.variants.rand_region for run in regions[::2]] == [0, 3]


def test_both_environments_are_evaluated_on_the_same_levels(tmp_path):
    config = settings(tmp_path, eval_levels="0-99", sweep="random_percent=0,5", vanilla_repeats=7)
    vanilla, other = plan(config, ())[::2]
    assert [one.file for one in vanilla.evaluations] == ["train.json", "test.json", "vanilla.json"]
    assert [one.file for one in other.evaluations] == ["train.json", "test.json"]
    parsed = [
        parse_command(["evaluate", "--run", "x", *one.words]).config for one in vanilla.evaluations
    ]
    assert {one.levels for one in parsed} == {"0-99"}
    assert [one.episodes_per_level for one in parsed] == [1, 1, 7]
    assert [one.env for one in parsed] == ["", "coinrun_aisc", ""]
    # Levels are chosen by other episodes than those that are counted in them.
    assert parsed[0].seed == parsed[1].seed != parsed[2].seed
    assert not any(one.greedy or one.compare_levels for one in parsed)
    assert plan(settings(tmp_path, eval_levels=""), ())[0].evaluations == ()


def test_videos_are_made_of_the_first_seed_in_both_environments_and_again_later(tmp_path):
    first, second = plan(settings(tmp_path, eval_levels="5-9", pair="keys", videos=2), ())
    assert second.recordings == ()
    folder = tmp_path / "assets" / "goal-misgeneralization-hard-500"
    assert [one.path for one in first.recordings] == [
        folder / "keys-train.mp4", folder / "keys-test.mp4",
    ]  # fmt: skip
    parsed = [parse_command(["record", *one.words]).config for one in first.recordings]
    assert [one.env for one in parsed] == ["", "heist_aisc_many_keys"]
    assert all(one.saliency and one.values and one.agent_view for one in parsed)
    assert {(one.levels, one.episodes) for one in parsed} == {("5-9", 2)}
    assert plan(settings(tmp_path, sweep="num_levels=1,2"), ())[0].recordings == ()

    make_run(first, lambda x: x, until=0.5)
    assert first.open_recordings() == [*first.recordings]
    folder.mkdir(parents=True)
    one = first.recordings[0]
    one.path.write_bytes(b"film")
    first.recorded_path(one).write_text(json.dumps(first.recorded_as(one)))
    assert first.open_recordings() == [first.recordings[1]]
    (first.folder / "step-000199999999").mkdir()
    assert first.open_recordings() == [*first.recordings]


def test_what_cannot_be_is_said_before_anything_is_run(tmp_path):
    for changed, message in (
        ({"pair": "coinrum"}, "unknown pair 'coinrum'; did you mean coinrun"),
        ({"sweep": "random_percent"}, "sweep=random_percent is not NAME=V,V"),
        ({"sweep": "random_percent=1,2,1"}, "has a value twice"),
        ({"sweep": "sprites=large"}, "'large' is not a number"),
        ({"sweep": "rand_region=1"}, "rand_region changes nothing in coinrun; use --pair maze-c"),
        ({"sweep": "key_penalty=1"}, "changes nothing in coinrun; use --pair keys"),
        ({"sweep": "rand_percent=1"}, "unknown setting '--rand-percent'"),
        ({"sweep": "random_percent=101"}, "random_percent=101"),
        ({"games": "maze"}, "games=maze has no meaning in goal-misgeneralization; use --pair"),
        ({"eval_episodes": 10}, "eval_episodes=10 has no meaning .*; use --eval-levels"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(settings(tmp_path, **changed), ())
    with pytest.raises(ConfigError, match="sweep=a=1 has no meaning in procgen-benchmark"):
        procgen_benchmark.plan(
            replace(settings(tmp_path, sweep="a=1"), name="procgen-benchmark"), ()
        )
    with pytest.raises(ConfigError, match="eval_levels=9-3 are no levels"):
        parse_command(["experiment", "goal-misgeneralization", "--eval-levels", "9-3"])


def test_a_sweeps_values_are_in_rising_order():
    assert parse_sweep("num-levels=100k,1000, 31.6k") == ("num_levels", ["1000", "31.6k", "100k"])


def test_the_plan_is_shown_with_its_videos(tmp_path, capsys):
    config = settings(tmp_path, total_timesteps=65_536, dry_run=True, preset="misgen-easy")
    run = plan(config, ())[0]
    make_run(run, lambda x: x, until=0.5)
    assert experiment_command(config, ()) == 0
    shown = capsys.readouterr().out
    assert "train coinrun --preset misgen-easy --num-test-envs 16 --test-env coinrun_aisc" in shown
    assert "2 runs, 98,304 timesteps and 4 evaluations and 2 videos are left" in shown


DOCS = Path(__file__).resolve().parents[3] / "docs" / "misgeneralization.md"
PROGRAM = "python -m ppo_mpi "
COMMANDS = [
    line.removeprefix(PROGRAM).partition(" #")[0]
    for line in DOCS.read_text(encoding="utf-8").splitlines()
    if line.startswith(PROGRAM)
]


@pytest.mark.parametrize("words", COMMANDS)
def test_the_commands_that_are_described_can_be_given(words):
    command = parse_command(shlex.split(words))
    if command.mode == "experiment":
        assert plan(command.config, command.words)


def test_the_published_runs_are_described():
    trained = [
        c.config for c in map(parse_command, map(shlex.split, COMMANDS)) if c.mode == "train"
    ]
    seeds = {c.job.seed: (c.environment.env, c.environment.test_env) for c in trained}
    for seed, pair in (
        (6033, "coinrun"),
        (1080, "maze-corner"),
        (2809, "maze-gem"),
        (1111, "keys"),
    ):
        known = PAIRS[pair]
        assert seeds[seed] == (f"procgen:{known.train}", f"procgen:{known.test}")
