"""Goal misgeneralization from one command to the figure, and the places where values are asked."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import run_job
from made_runs import files_in

pytest.importorskip("procgen", reason="procgen is not installed")

from ppo_mpi.agent import load_agent
from ppo_mpi.envs.coinrun_places import (
    HIGHEST,
    PLACES,
    agent_cells,
    coin_in_view,
    placed,
)
from ppo_mpi.envs.coinrun_scenes import WALL_MIDDLE, WALL_TOP, coin_cell, section_starts
from ppo_mpi.envs.procgen import make_envs
from ppo_mpi.envs.procgen_scene import EMPTY, Scene
from ppo_mpi.experiments.coinrun_values import FILE, values_of

TINY = [
    "--num-envs", "8", "--rollout-timesteps", "1024", "--num-minibatches", "2",
    "--num-epochs", "1", "--network", "nature", "--channel-multiplier", "0.25",
    "--feature-size", "16", "--checkpoint-every", "1", "--display", "off",
]  # fmt: skip
EXPERIMENT = ["experiment", "goal-misgeneralization", "--preset", "misgen-easy", "--seeds", "1",
              "--num-test-envs", "4", "--value-levels", "3"]  # fmt: skip


def run(folder: Path, *words: str) -> str:
    """Run the experiment in a folder; return what it printed."""
    done = run_job(0, *EXPERIMENT, *words, "--", *TINY, cwd=folder)
    return done.stdout + done.stderr


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(600)
def test_a_pair_is_trained_evaluated_filmed_and_drawn_once(tmp_path):
    words = ["--total-timesteps", "6144", "--eval-levels", "0-3"]
    shown = run(tmp_path, *words)
    folder = tmp_path / "assets" / "goal-misgeneralization-easy"
    trained = tmp_path / "checkpoints" / folder.name / "coinrun-seed0"
    wanted = {"episodes.csv", "rates.csv", "means.csv", "rates.md", "summary.json", "values.csv",
              "curves.png", "rates.pdf", "values.png", "coinrun-train.mp4", "coinrun-train.npz",
              "coinrun-test.mp4"}  # fmt: skip
    assert wanted <= files_in(folder)
    episodes = read(folder / "episodes.csv")
    assert [(row["role"], row["env"], row["level"]) for row in episodes] == [
        *[("train", "procgen:coinrun", str(k)) for k in range(4)],
        *[("test", "procgen:coinrun_aisc", str(k)) for k in range(4)],
    ]
    assert [float(row["randomized"]) for row in episodes] == [0] * 4 + [1] * 4
    for row in episodes:
        facts = {name: float(row[name]) for name in ("first", "intended_goal", "return")}
        assert (facts["first"] == 1) == (facts["return"] == 10)
        assert row["role"] == "test" or facts["first"] != 2
    values = read(folder / "values.csv")
    assert len(values) == 8
    assert {row["scenes"] for row in values} == {"3"}
    document = json.loads((folder / "summary.json").read_text())
    assert {row["role"] for row in document["rates"]} == {"train", "test"}

    # The same line again has nothing to train, to evaluate, to film or to measure.
    made = (trained / FILE, trained / "test.json", folder / "coinrun-test.mp4")
    before = {path: path.stat().st_mtime_ns for path in made}
    again = run(tmp_path, *words)
    assert "run 1 of 1" in shown
    assert "run 1 of 1" not in again
    assert "values of coinrun-seed0" not in again
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.timeout(600)
def test_a_sweep_of_the_percentage_ends_in_figure_2(tmp_path):
    sweep = ["--sweep", "random_percent=0,100", "--vanilla-repeats", "2", "--value-levels", "0"]
    run(tmp_path, *sweep, "--total-timesteps", "1024", "--eval-levels", "0-7")
    folder = tmp_path / "assets" / "goal-misgeneralization-easy-random_percent"
    assert {"failures-coinrun.png", "failures-coinrun.pdf", "failures.csv"} <= files_in(folder)
    assert not any(name.startswith("values") for name in files_in(folder))
    episodes = read(folder / "episodes.csv")
    vanilla = [row for row in episodes if row["role"] == "vanilla"]
    assert [row["level"] for row in vanilla] == [*map(str, range(8))] * 2
    met = {k: np.mean([float(row["spot_reached"]) for row in vanilla if row["level"] == str(k)])
           for k in range(8)}  # fmt: skip
    good = sum(share < 0.1 for share in met.values())
    rows = read(folder / "failures.csv")
    assert [row["value"] for row in rows] == ["0", "100"]
    assert {row["good_levels"] for row in rows} == {str(good)}
    # With 100 percent, training and test environment are one.
    of_hundred = [row for row in episodes if row["value"] == "100"]
    outcomes: dict[str, Any] = {}
    for row in of_hundred:
        outcomes.setdefault(row["role"], []).append((row["first"], row["return"], row["length"]))
    assert outcomes["train"] == outcomes["test"]


@pytest.fixture(scope="module")
def levels() -> list[bytes]:
    envs = make_envs("coinrun", range(64), 3, options={"distribution_mode": "hard"})
    envs.reset()
    states: list[bytes] = []
    for slot in range(64):
        envs.edit(slot, lambda state: (states.append(state), state)[1])  # type: ignore[attr-defined]
    return states


def test_the_agent_stands_on_firm_ground_farther_and_farther_to_the_right(levels):
    found = [(state, agent_cells(state)) for state in levels]
    assert 20 < sum(cells is not None for _, cells in found) < 48  # half have three sections
    for state, cells in found:
        scene = Scene(state)
        if cells is None:
            continue
        assert len(section_starts(scene)) >= 3
        columns = [cells[place][0] for place in PLACES]
        assert columns == sorted(set(columns))
        for place, (x, y) in cells.items():
            assert scene.grid[y - 1, x] in (WALL_MIDDLE, WALL_TOP)
            assert scene.grid[y, x] == EMPTY or place == "after end"
        assert cells["after end"] == coin_cell(scene)


def test_the_coin_is_near_but_not_touched_or_away(levels):
    count = 0
    for state in levels:
        for place, cell in (agent_cells(state) or {}).items():
            coin = coin_in_view(state, place, cell)
            if coin is None:
                continue
            count += 1
            assert 2 <= abs(coin[0] - cell[0]) <= 5
            assert abs(coin[1] - cell[1]) <= HIGHEST
            scene = Scene(placed(state, cell, coin))
            assert (scene.agent_cell(), coin_cell(scene)) == (cell, coin)
            if place == "end":
                assert coin == coin_cell(Scene(state))
            assert coin_cell(Scene(placed(state, cell, None))) is None
    assert count > 80


@pytest.mark.timeout(300)
def test_values_are_those_of_the_agent_in_the_scenes(tmp_path):
    """Of an agent that has hardly learned anything, in whatever variant, drawn scene by scene."""
    words = ["train", "coinrun", "--random-percent", "50", "--total-timesteps", "1024",
             "--distribution-mode", "hard", "--checkpoint-dir", "runs", "--run", "x"]  # fmt: skip
    run_job(0, *words, *TINY, cwd=tmp_path)
    agent = load_agent(str(tmp_path / "runs" / "x"), precision="float32")
    values = values_of(agent, "0-99", 20)
    assert set(values) == {(place, seen) for place in PLACES for seen in (False, True)}
    assert {len(own) for own in values.values()} == {20}
    envs = make_envs("coinrun", [0], 5, options={"distribution_mode": "hard"})
    slowly: list[list[float]] = []
    for level in range(100):
        envs.assign(0, 0, level)
        envs.reset()
        states: list[bytes] = []
        envs.edit(0, lambda s: (states.append(s), s)[1])  # type: ignore[attr-defined]  # noqa: B023
        cells = agent_cells(states[0])
        if cells is None or len(slowly) == 20:
            continue
        coins = {place: coin_in_view(states[0], place, cell) for place, cell in cells.items()}
        if None in coins.values():
            continue
        row = []
        for place, seen in values:
            scene = placed(states[0], cells[place], coins[place] if seen else None)
            envs.edit(0, lambda _: scene)  # type: ignore[attr-defined]  # noqa: B023
            row.append(float(agent.act(envs.observe(), None).values[0]))
        slowly.append(row)
    np.testing.assert_allclose(np.stack([*values.values()], axis=1), slowly, atol=1e-5)
    spread = np.stack([*values.values()]).std(axis=0)
    assert (spread > 0).all()  # the pictures differ
