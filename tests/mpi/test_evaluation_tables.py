"""An evaluation's files say the same on any number of ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jobs import run_job

pytest.importorskip("procgen")

TRAIN = (
    *("train", "maze", "--num-levels", "20", "--num-envs", "4", "--rollout-timesteps", "256"),
    *("--total-timesteps", "256", "--num-epochs", "1", "--num-minibatches", "1"),
    *("--network", "nature", "--channel-multiplier", "0.25", "--feature-size", "16"),
    *("--display", "off", "--run", "r"),
)
FILES = ("e.csv", "l.jsonl", "r.json")


def evaluate(ranks: int, folder: Path) -> list[bytes]:
    """Evaluate the run on a number of ranks; return the files."""
    words = ("--levels", "15-34", "--episodes-per-level", "2", "--num-envs", "6")
    files = ("--table", "e.csv", "--level-table", "l.jsonl", "--json", "r.json")
    shown = run_job(ranks, "evaluate", "r", *words, *files, cwd=folder).stdout
    assert "training minus held-out levels" in shown
    assert shown.count("of 15 held-out levels") == 1
    return [(folder / name).read_bytes() for name in FILES]


def test_the_number_of_ranks_changes_no_file(tmp_path):
    run_job(0, *TRAIN, cwd=tmp_path)
    alone = evaluate(0, tmp_path)
    episodes = alone[0].decode().splitlines()
    assert len(episodes) == 41
    assert sum(",train,1" in line for line in episodes) == 10
    assert [json.loads(line)["episodes"] for line in alone[1].splitlines()] == [2] * 20
    for ranks in (2, 3):
        assert evaluate(ranks, tmp_path) == alone
