"""The pieces of a report: thinned curves, tables, escaped texts, commands, evaluations."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from curve_runs import curve_run, returns

from ppo_mpi.errors import ConfigError
from ppo_mpi.reports.charts import make_charts, thin, time_shares
from ppo_mpi.reports.entries import entries_of
from ppo_mpi.reports.evaluations import read_evaluation
from ppo_mpi.reports.lost_ranks import lost_ranks
from ppo_mpi.reports.markup import script_data, tag
from ppo_mpi.reports.page import Content, make_page
from ppo_mpi.reports.page_script import SCRIPT
from ppo_mpi.reports.provenance import commands, named_preset, origin_of
from ppo_mpi.reports.run_files import read_run_files

EVIL = '"><script>alert(1)</script>&\u2028'


class Page(HTMLParser):
    """What a browser would make of a page: the scripts, the addresses, the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.handlers: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, name, attributes):
        self._inside = name
        self.handlers += [key for key, _ in attributes if key.startswith("on")]
        self.addresses += [value for key, value in attributes if key in ("src", "href", "action")]

    def handle_endtag(self, name):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data


def page_of(*folders, **content):
    return make_page(Content([read_run_files(folder) for folder in folders], **content))


def test_a_thinned_curve_keeps_its_ends_and_every_peak():
    values = np.sin(np.arange(100_000) / 50.0)
    values[[77_777, 33_333]] = 9.0, -9.0
    kept = thin(values, 1000)
    assert len(kept) <= 1000
    assert {0, 33_333, 77_777, 99_999} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    # No stretch of the whole curve is wider than what is drawn of it.
    drawn = np.interp(np.arange(100_000), kept, values[kept])
    for start in range(0, 100_000, 1000):
        own = slice(start, start + 1000)
        assert drawn[own].max() == pytest.approx(values[own].max(), abs=0.05)
    assert thin(values[:7], 7).tolist() == list(range(7))


def test_charts_have_a_series_for_each_run_and_fold_the_unknown_columns(tmp_path):
    rows = [{"mean_return": k, "test_mean_return": "", "entropy": 0.5, "novel": k} for k in (1, 2)]
    runs = [
        read_run_files(curve_run(tmp_path / n, rows, discount=d))
        for n, d in (("a", 0.9), ("b", 0.8))
    ]
    entries = entries_of(runs)
    assert [(entry.label, entry.view) for entry in entries] == [("a", "runs"), ("b", "runs")]
    main, more = make_charts(entries)
    assert [chart.title for chart in main] == [
        "Mean return of the last 100 episodes", "Entropy (nats)",
    ]  # fmt: skip
    assert [chart.title for chart in more] == ["Novel"]
    assert main[0].series == [
        {"entry": k, "kind": 0, "name": "training", "t": [1000, 2000], "v": [1.0, 2.0]}
        for k in (0, 1)
    ]
    assert [places.tolist() for places in entries[1].clock()] == [[1000, 2000], [0.01, 0.02]]


def test_runs_that_repeat_each_other_are_a_mean_with_its_interval_and_runs_beside(tmp_path):
    for name, seed, discount, values in (
        ("a", 0, 0.9, (1.0, 2.0, 9.0)), ("b", 1, 0.9, (3.0, 4.0)), ("c", 0, 0.8, (5.0, 5.0)),
    ):  # fmt: skip
        curve_run(tmp_path / name, returns(*values), seed=seed, discount=discount)
    runs = [read_run_files(tmp_path / name) for name in "abc"]
    entries = entries_of(runs)
    assert [(entry.label, entry.view) for entry in entries] == [
        ("discount=0.9 (2 seeds)", "means"), ("discount=0.8 (1 seed)", "means"),
        ("a", "runs"), ("b", "runs"), ("c", "runs"),
    ]  # fmt: skip
    (chart,), _ = make_charts(entries)
    mean, alone, *single = chart.series
    assert (mean["entry"], mean["t"], mean["v"]) == (0, [1000, 2000], [2.0, 3.0])
    # Two runs at 1 and 3: their standard error is 1, and Student's factor 12.706.
    assert (mean["lo"][0], mean["hi"][0]) == pytest.approx((-10.706, 14.706), abs=1e-3)
    assert "lo" not in alone
    assert [s["t"][-1] for s in single] == [3000, 2000, 2000]
    text = Page(page_of(*(tmp_path / name for name in "abc"))).text
    assert "3.00 ± 12.71" in text
    assert "mean over seeds" in text


def test_many_runs_share_the_points_so_that_a_page_can_be_mailed(tmp_path):
    rows = [{"mean_return": k % 7, "entropy": k} for k in range(1500)]
    runs = [read_run_files(curve_run(tmp_path / str(k), rows, discount=k / 40)) for k in range(40)]
    (first, entropy), _ = make_charts(entries_of(runs))
    assert all(90 <= len(s["t"]) <= 100 for s in first.series)
    assert all(50 <= len(s["t"]) <= 60 for s in entropy.series)


def test_the_published_curve_stands_behind_or_its_end_alone_where_a_run_has_come_far(tmp_path):
    settings = {"env": "procgen:plunder", "distribution_mode": "easy", "num_levels": 200}
    rows = [
        {"mean_return": 5.0, "test_mean_return": 4.0, "timesteps": 5_000_000 * k} for k in (1, 4)
    ]
    run = read_run_files(curve_run(tmp_path / "a", rows, **settings))
    chart = make_charts(entries_of([run]))[0][0]
    published = [s for s in chart.series if s["entry"] < 0]
    assert [(s["kind"], s["v"][-1]) for s in published] == [(0, 5.3), (1, 4.6)]
    assert published[0]["name"] == "published at 25M, training"
    assert published[0]["t"] == [0, 20_000_000]
    game = read_run_files(
        curve_run(tmp_path / "b", rows, **settings | {"num_levels": 0, "env": "procgen:starpilot"})
    )
    chart = make_charts(entries_of([game]))[0][0]
    (curve,) = [s for s in chart.series if s["entry"] < 0]
    assert all(
        low <= v <= high for low, v, high in zip(curve["lo"], curve["v"], curve["hi"], strict=True)
    )


def test_the_time_is_told_in_the_panels_parts_which_add_up_to_the_runs_clock():
    columns = {
        "iteration": np.array([1.0, 2.0]), "wall_seconds": np.array([5.0, 11.0]),
        "collect_seconds": np.array([1.0, 2.0]), "engine_seconds": np.array([0.5, 1.5]),
        "update_seconds": np.array([2.0, 2.0]), "communication_seconds": np.array([0.5, 0.5]),
        "waiting_seconds": np.array([0.25, 0.25]), "between_seconds": np.array([0.0, 1.0]),
    }  # fmt: skip
    shares = dict(time_shares(columns))
    assert shares == {
        "engine": 2.0, "policy": 1.0, "update": 3.0, "MPI": 0.5, "waiting": 0.5, "other": 4.0,
    }  # fmt: skip
    assert sum(shares.values()) == 11.0
    # Rows of two iterations and, at the run's end, of one hold means over them.
    rows = columns | {"iteration": np.array([2.0, 3.0])}
    assert list(dict(time_shares(rows)).values()) == [2.5, 1.5, 4.5, 0.75, 0.75, 1.0]
    old = {name: columns[name] for name in ("iteration", "wall_seconds", "collect_seconds")}
    assert dict(time_shares(old)) == {"collect": 3.0, "other": 8.0}
    assert time_shares({}) == []


def test_no_text_of_a_run_becomes_markup_or_script(tmp_path):
    rows = [{"mean_return": 1.0, EVIL: 2.0}]
    folder = curve_run(tmp_path / "<img src=x onerror=alert(1)>", rows)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config + f"own:\n  evil: {json.dumps(EVIL)}\n")
    sessions = [{"command": EVIL, "hosts": {EVIL: 1}, "packages": [EVIL]}]
    (folder / "system.json").write_text(json.dumps({"sessions": sessions}))
    text = page_of(folder, videos=[(EVIL, b"film")], left_out=[EVIL])
    page = Page(text)
    data, script = page.scripts
    assert script == SCRIPT
    assert page.handlers == []
    assert page.text.count("<script>alert(1)</script>") >= 4
    assert text.count("alert(1)</script>") == 0
    assert [entry["label"] for entry in json.loads(data)["entries"]] == [folder.name]


def test_a_page_asks_for_nothing_from_outside(tmp_path):
    text = page_of(curve_run(tmp_path / "a", returns(1.0)), videos=[("a", b"film")])
    page = Page(text)
    assert page.addresses == ["data:video/mp4;base64,ZmlsbQ==#t=0.1"]
    assert "default-src 'none'" in html.unescape(text)
    assert not re.search(r"@import|url\(", text)


def test_pages_of_empty_and_of_several_runs_have_their_tables(tmp_path):
    assert "No iteration has been logged yet." in page_of(curve_run(tmp_path / "none", []))
    both = Page(page_of(
        curve_run(tmp_path / "a", returns(1.0), discount=0.9),
        curve_run(tmp_path / "b", returns("")),
    )).text  # fmt: skip
    assert "Settings that differ" in both
    assert "Settings that differ" not in page_of(tmp_path / "a")


def test_data_in_a_script_is_json_that_cannot_end_it():
    text = script_data({"a": EVIL, "b": "<!--"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": EVIL, "b": "<!--"}
    with pytest.raises(ValueError, match="JSON"):
        script_data(float("nan"))


def test_texts_are_escaped_in_elements_and_attributes():
    assert tag("p", "<b>", tag("i", "&"), title='"x') == (
        '<p title="&quot;x">&lt;b&gt;<i>&amp;</i></p>'
    )


def test_a_runs_differences_are_from_the_preset_that_it_named(tmp_path):
    folder = curve_run(tmp_path / "a", returns(1.0), seed=7)
    own = origin_of(read_run_files(folder))
    assert own.preset == "cartpole"
    assert ("seed", "7", "0") in own.differences(read_run_files(folder))
    command = "python -m ppo_mpi train CartPole-v1 --preset gym-control"
    (folder / "system.json").write_text(
        json.dumps({"sessions": [{"command": command, "ranks": 2}]})
    )
    run = read_run_files(folder)
    named = origin_of(run)
    assert named.preset == "gym-control"
    (_, again), *_ = commands(run, named)
    assert again.startswith("mpirun -np 2 python -m ppo_mpi train gym:CartPole-v1 --preset gym-c")
    assert "--seed 7" in again


@pytest.mark.parametrize(
    ("algorithm", "preset"), [("a2c", "cartpole-a2c"), ("acktr", "cartpole-acktr"),
                              ("ppg", "cartpole"), ("of another version", "cartpole")],
)  # fmt: skip
def test_without_a_named_preset_it_is_the_algorithms_and_the_command_repeats_it(
    tmp_path, algorithm, preset
):
    folder = curve_run(tmp_path / "a", returns(1.0))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("algorithm: ppo", f"algorithm: {algorithm}"))
    run = read_run_files(folder)
    origin = origin_of(run)
    assert origin.preset == preset
    (_, again), *_ = commands(run, origin)
    assert (f"--algorithm {algorithm}" in again or "'of another" in again) == (preset == "cartpole")


@pytest.mark.parametrize(
    ("command", "preset"),
    [("train --preset a", "a"), ("train --preset=a", "a"), ("train preset=a", "a"),
     ("train --param_name b", "b"), ("train preset", ""), ("train 'a", ""), ("", "")],
)  # fmt: skip
def test_the_preset_is_read_from_the_command(command, preset):
    assert named_preset({"command": command}) == preset


def evaluation(**changed):
    figures = {"episodes": 9, "mean_return": 5.0, "interval_95": [4.0, 6.0], "min_return": 1}
    return {
        "run": "a",
        "env": "gym:CartPole-v1",
        "timesteps": 10,
        "levels": {"train": figures},
        "generalization_gap": {"gap": 1.5, "welch_95": [1, 2], "bootstrap_95": None},
    } | changed


def test_an_evaluation_becomes_tables(tmp_path):
    path = tmp_path / "e.json"
    path.write_text(json.dumps({"games": {"x": evaluation(), "y": evaluation(run="b")}}))
    scores, gaps = read_evaluation(path)
    assert [(s.run, s.levels, s.pair("interval_95")) for s in scores] == [
        ("a", "train", (4.0, 6.0)), ("b", "train", (4.0, 6.0)),
    ]  # fmt: skip
    text = Page(page_of(curve_run(tmp_path / "a", returns(1.0)), scores=scores, gaps=gaps)).text
    assert "4.000 to 6.000" in text
    assert "1.000 to 2.000" in text


@pytest.mark.parametrize("content", ["[]", "{}", '{"levels": {"a": 1}}', "{", '{"games": []}'])
def test_what_is_no_evaluation_is_refused(tmp_path, content):
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(ConfigError, match=r"e\.json"):
        read_evaluation(tmp_path / "e.json")


def test_odd_values_in_an_evaluation_are_dashes(tmp_path):
    odd = {"mean_return": 1.0, "interval_95": "x", "episodes": None, "min_return": [1]}
    (tmp_path / "e.json").write_text(json.dumps(evaluation(levels={"train": odd}, timesteps="1")))
    scores, gaps = read_evaluation(tmp_path / "e.json")
    assert np.isnan(scores[0].pair("interval_95")).all()
    page_of(curve_run(tmp_path / "a", returns(1.0)), scores=scores, gaps=gaps)


def test_lost_ranks_are_those_of_the_newest_checkpoint(tmp_path):
    for step, losses in ((1, []), (2, [{"iteration": 5, "ranks": 1, "fresh": 4}, "x"])):
        folder = tmp_path / f"step-{step:012d}"
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps({"losses": losses}))
    assert lost_ranks(tmp_path) == [["5", "1", "4"]]
    assert lost_ranks(tmp_path / "nothing") == []
