"""Reading runs' folders, finding the runs that are meant, putting them into groups."""

from __future__ import annotations

import os

import pytest
from curve_runs import curve_run, returns

from ppo_mpi.config import TrainConfig, flatten
from ppo_mpi.errors import ConfigError
from ppo_mpi.reports.finding import find_runs
from ppo_mpi.reports.grouping import fields_alike, group_runs, same_seeds
from ppo_mpi.reports.run_files import plain_text, read_run_files


def groups_of(*folders):
    return group_runs([read_run_files(folder) for folder in folders])


def test_a_runs_settings_and_curve_are_read_with_empty_and_nan_cells_left_out(tmp_path):
    run = read_run_files(curve_run(tmp_path / "a", returns(1.5, "", "nan", 4.0), seed=3))
    assert (run.env, run.settings["seed"], run.settings["discount"]) == (
        "gym:CartPole-v1", "3", plain_text(TrainConfig().learning.discount),
    )  # fmt: skip
    x, y = run.curve("mean_return", "timesteps")
    assert (x.tolist(), y.tolist()) == ([1000.0, 4000.0], [1.5, 4.0])
    assert run.curve("mean_return", "hours")[0].tolist() == [0.01, 0.04]
    assert run.curve("nothing", "timesteps")[0].tolist() == []


def test_a_row_that_is_being_written_is_left_out(tmp_path):
    folder = curve_run(tmp_path / "a", returns(1.0, 2.0))
    with (folder / "progress.csv").open("a") as file:
        file.write("3,3000,1")
    assert read_run_files(folder).columns["timesteps"].tolist() == [1000.0, 2000.0]


def test_every_default_reads_as_the_config_file_has_it(tmp_path):
    run = read_run_files(curve_run(tmp_path / "a", returns(1.0), env="procgen:coinrun"))
    defaults = {name: plain_text(value) for name, value in flatten(TrainConfig()).items()}
    assert run.settings == defaults | {"env": "procgen:coinrun"}


@pytest.mark.parametrize(
    ("text", "words"),
    [("- a\n", "names no environment"), ("a: [", "is not YAML"), ("", "names no environment")],
)
def test_a_config_that_is_none_is_refused(tmp_path, text, words):
    folder = curve_run(tmp_path / "a", returns(1.0))
    (folder / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_run_files(folder)


def test_a_link_in_the_place_of_the_curve_is_not_followed(tmp_path):
    folder = curve_run(tmp_path / "a", returns(1.0))
    (folder / "progress.csv").rename(tmp_path / "elsewhere")
    (folder / "progress.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        read_run_files(folder)


def test_runs_are_found_by_name_path_pattern_and_folder_each_once(tmp_path, monkeypatch):
    one, two = (curve_run(tmp_path / "runs" / name, returns(1.0)) for name in ("a-1", "a-2"))
    (tmp_path / "runs" / "README.md").write_text("")
    monkeypatch.chdir(tmp_path)
    for words in (["a-1", "a-2"], ["a*"], ["runs/*"], ["runs"], [str(two), "runs/"]):
        found, _ = find_runs(words, "runs")
        assert {path.resolve() for path in found} == {one, two}
        assert len(found) == 2
    assert find_runs(["runs/*"], "runs")[1] == [
        "runs/README.md is no run with a curve: it is left out"
    ]


def test_without_words_it_is_the_run_that_was_written_last(tmp_path):
    old, new = (curve_run(tmp_path / name, returns(1.0)) for name in ("z", "a"))
    os.utime(old / "progress.csv", (1, 1))
    assert find_runs([], str(tmp_path))[0] == [new]


def test_an_unknown_run_is_an_error_with_the_nearest_names(tmp_path):
    curve_run(tmp_path / "coinrun", returns(1.0))
    with pytest.raises(ConfigError, match="did you mean coinrun"):
        find_runs(["coinrum"], str(tmp_path))
    with pytest.raises(ConfigError, match="there is no run with a curve"):
        find_runs([], str(tmp_path / "nothing"))


def test_runs_that_differ_in_seed_and_machine_only_are_one_group(tmp_path):
    groups = groups_of(
        curve_run(tmp_path / "a", returns(1.0), seed=1),
        curve_run(tmp_path / "b", returns(1.0), seed=2, device="cpu", threads=3, env_workers=1),
        curve_run(tmp_path / "c", returns(1.0), seed=1, learning_rate=1e-3),
    )
    assert [[run.name for run in group.runs] for group in groups] == [["a", "b"], ["c"]]
    assert [group.label for group in groups] == ["learning_rate=0.0005", "learning_rate=0.001"]


def test_a_runs_length_counts_where_a_schedule_knows_it_and_only_there(tmp_path):
    def pair(name, schedule):
        return groups_of(*(
            curve_run(tmp_path / f"{name}{n}", returns(1.0), seed=n, total_timesteps=n * 10**6,
                      learning_rate_schedule=schedule)
            for n in (1, 2)
        ))  # fmt: skip

    assert len(pair("a", "constant")) == 1
    assert [g.label for g in pair("b", "linear")] == [
        "total_timesteps=1000000", "total_timesteps=2000000",
    ]  # fmt: skip


def test_groups_of_many_differences_have_their_runs_names(tmp_path):
    other = {"discount": 0.9, "gae_lambda": 0.9, "num_epochs": 7, "clip_range": 0.1}
    groups = groups_of(
        *(curve_run(tmp_path / f"slow-s{n}", returns(1.0), seed=n) for n in (0, 1)),
        *(curve_run(tmp_path / f"fast-s{n}", returns(1.0), seed=n, **other) for n in (0, 1)),
    )
    assert [group.label for group in groups] == ["slow", "fast"]


def test_labels_tell_groups_of_one_environment_apart(tmp_path):
    groups = groups_of(
        curve_run(tmp_path / "a", returns(1.0)),
        curve_run(tmp_path / "b", returns(1.0), env="gym:Acrobot-v1", discount=0.9),
        curve_run(tmp_path / "c", returns(1.0), discount=0.9),
    )
    assert [group.label for group in groups] == ["discount=0.999", "", "discount=0.9"]


def test_a_seed_that_comes_twice_is_told(tmp_path):
    (group,) = groups_of(*(curve_run(tmp_path / name, returns(1.0)) for name in "ab"))
    assert same_seeds(group) == ["b"]


def test_what_does_not_tell_groups_apart_are_settings():
    assert fields_alike() <= set(flatten(TrainConfig()))
    assert {"seed", "run", "threads"} <= fields_alike()
    assert not {"total_timesteps", "learning_rate", "env"} & fields_alike()
