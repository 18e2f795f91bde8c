"""Atari runs: the same on any number of ranks, resumed to the bit, watched and evaluated."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import run_job
from runs import assert_same_bits, assert_same_progress, episodes, newest, seldom

pytest.importorskip("ale_py")
pytest.importorskip("cv2")

ITERATION = 256
TOTAL = ("--total-timesteps", str(3 * ITERATION))
# Rewards only by luck, sticky actions, lives and cut episodes: everything that a game has.
WORDS = (
    *("train", "ALE/Breakout-v5", "--num-envs", "4", "--rollout-timesteps", str(ITERATION)),
    *("--num-epochs", "1", "--num-minibatches", "3", "--seed", "3", "--precision", "float32"),
    *("--channel-multiplier", "0.25", "--feature-size", "32", "--display", "off"),
    *("--max-episode-frames", "500", "--screen-size", "42", "--num-test-envs", "2"),
    *("--normalize-rewards", "true"),
)


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return a function that trains at once on a number of ranks: its run."""
    folder = tmp_path_factory.mktemp("atari")

    @functools.cache
    def train(ranks: int) -> Path:
        run_job(ranks, *WORDS, *TOTAL, "--run", f"ranks{ranks}", cwd=folder)
        return folder / "checkpoints" / f"ranks{ranks}"

    return train


@pytest.mark.parametrize("ranks", [seldom(2), 3])
def test_the_number_of_ranks_does_not_change_the_result(
    run_of: Callable[[int], Path], ranks: int
) -> None:
    one, other = run_of(0), run_of(ranks)
    assert_same_bits(one, other, ("model", "optimizer"))
    assert episodes(one) == episodes(other)
    assert_same_progress(one, other)


def test_episodes_are_whole_games_in_training_and_test(run_of: Callable[[int], Path]) -> None:
    rows = list(csv.DictReader(episodes(run_of(0)).splitlines()))
    assert {row["split"] for row in rows} == {"train", "test"}
    # A life lasts some 20 steps; games have five, or are cut after 500 frames.
    assert min(int(row["length"]) for row in rows) > 60


def test_a_run_that_was_stopped_is_the_run_that_was_not(
    run_of: Callable[[int], Path], tmp_path: Path
) -> None:
    run_job(0, *WORDS, *TOTAL, "--max-seconds", "0.001", "--run", "r", cwd=tmp_path)
    run_dir = tmp_path / "checkpoints" / "r"
    assert newest(run_dir).name == f"step-{ITERATION:012d}"
    run_job(0, *WORDS, *TOTAL, "--max-seconds", "0", "--run", "r", cwd=tmp_path)
    whole = run_of(0)
    assert_same_bits(run_dir, whole, ("model", "optimizer", "normalizers"))
    assert_same_progress(run_dir, whole)
    assert episodes(run_dir) == episodes(whole)
    one, two = (json.loads((newest(r) / "state.json").read_text()) for r in (run_dir, whole))
    for name in ("running_returns", "train_episodes", "test_episodes"):
        assert one[name] == two[name], name


def test_a_run_is_recorded_played_and_evaluated(
    run_of: Callable[[int], Path], tmp_path: Path
) -> None:
    run = str(run_of(0))
    words = ("--run", run, "--seconds", "2", "--asset-dir", str(tmp_path))
    run_job(0, "record", *words, cwd=tmp_path)
    (video,) = tmp_path.rglob("*.mp4")
    assert video.stat().st_size > 1000
    run_job(0, "record", *words, "--agent-view", "true", cwd=tmp_path)
    run_job(0, "play", *words, cwd=tmp_path)
    assert len(list(tmp_path.rglob("*.mp4"))) == 3
    run_job(0, "evaluate", "--run", run, "--episodes", "2", "--json", "e.json", cwd=tmp_path)
    (played,) = json.loads((tmp_path / "e.json").read_text())["episodes"].values()
    assert len(played) == 2
    assert min(episode["length"] for episode in played) > 60, "whole games, not lives"
