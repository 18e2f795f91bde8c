"""The mode plot: the files it writes, what it says, what it refuses."""

from __future__ import annotations

import csv

import pytest
from curve_runs import curve_run, returns

from ppo_mpi.cli import parse_command
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.plot import plot_command
from ppo_mpi.settings.plot import PlotConfig


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    for seed in (0, 1, 2):
        curve_run(root / f"a-{seed}", returns(1.0, "", 3.0 + seed), seed=seed)
        curve_run(root / f"b-{seed}", returns(2.0), seed=seed, discount=0.9)
    return root


def test_plot_writes_each_kind_of_file(runs, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    files = [tmp_path / f"out/c.{kind}" for kind in ("png", "pdf", "svg", "csv")]
    config = PlotConfig((str(runs),), output=",".join(map(str, files)), title="$\\frac <b>")
    assert plot_command(config) == 0
    starts = [path.read_bytes()[:5] for path in files]
    assert starts == [b"\x89PNG\r", b"%PDF-", b"<?xml", b"envir"]
    first = [path.read_bytes() for path in files]
    plot_command(config)
    assert [path.read_bytes() for path in files] == first
    said = capsys.readouterr().out
    assert "gym:CartPole-v1, discount=0.9: 3 seeds (b-0, b-1, b-2)" in said
    assert "Student's 95 % interval" in said
    rows = list(csv.DictReader(files[3].open()))
    ends = [float(r["mean"]) for r in rows if r["group"] == "discount=0.999"]
    assert ends == [1.0, 4.0]


def test_a_table_of_hours_needs_no_plotting_package(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    plot_command(
        PlotConfig(("b-0",), x="hours", output=f"{tmp_path}/c.csv", checkpoint_dir=str(runs))
    )
    assert (tmp_path / "c.csv").read_text().splitlines()[1] == (
        "gym:CartPole-v1,,mean_return,0.01,2.0,,,1"
    )
    with pytest.raises(ConfigError, match=r'pip install "ppo_mpi\[plot\]"'):
        plot_command(PlotConfig(("b-0",), output=f"{tmp_path}/c.png", checkpoint_dir=str(runs)))


def test_by_default_the_newest_run_goes_to_its_asset_folder(runs, tmp_path):
    pytest.importorskip("matplotlib")
    curve_run(runs / "newest", returns(1.0))
    plot_command(PlotConfig(checkpoint_dir=str(runs), asset_dir=str(tmp_path / "assets")))
    assert (tmp_path / "assets/newest/learning-curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (PlotConfig(y=("mean_retrn",)), "unknown column 'mean_retrn'; did you mean mean_return"),
        (PlotConfig(("empty",)), "no value of mean_return yet"),
    ],
)
def test_what_cannot_be_drawn_is_refused(runs, config, words):
    curve_run(runs / "empty", [])
    config = PlotConfig(**(vars(config) | {"checkpoint_dir": str(runs)}))
    with pytest.raises(ConfigError, match=words):
        plot_command(config)


def test_an_unknown_kind_of_file_is_refused():
    with pytest.raises(ConfigError, match=r"output=a.jpg is of no known kind; use a name in .png"):
        parse_command(["plot", "--output", "a.csv,a.jpg"])


def test_several_plain_words_are_the_runs():
    words = ["plot", "a", "b/c", "--y", "entropy", "loss", "--x", "hours"]
    config = parse_command(words).config
    assert (config.runs, config.y, config.x) == (("a", "b/c"), ("entropy", "loss"), "hours")
    assert parse_command(["plot", "a", "--runs", "b", "c"]).config.runs == ("a", "b", "c")
