"""Agents that remember, in real suites: trained, taken up, evaluated, recorded and played."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from jobs import run_job
from runs import COMMON, arrays, assert_same_bits, assert_same_progress, episodes

SMALL = [*COMMON, "--num-envs", "4", "--rollout-timesteps", "256", "--num-minibatches", "2",
         "--channel-multiplier", "0.25", "--recurrent-size", "16"]  # fmt: skip
JOBS = {
    "memory": ["maze", "--distribution-mode", "memory", "--recurrent", "gru", *SMALL,
               "--num-test-envs", "2", "--num-levels", "20"],
    "exploration": ["leaper", "--distribution-mode", "exploration", "--recurrent", "lstm", *SMALL,
                    "--sequence-steps", "24"],
    "atari": ["atari:Breakout", "--preset", "atari-recurrent", *SMALL, "--feature-size", "32"],
}  # fmt: skip
NEEDED = {"memory": "procgen", "exploration": "procgen", "atari": "ale_py"}
TOTAL = ["--total-timesteps", str(3 * 256)]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that trains a job once: job -> its run."""
    folder = tmp_path_factory.mktemp("recurrent")

    @cache
    def train(job: str) -> Path:
        run_job(0, "train", *JOBS[job], *TOTAL, "--run", job, cwd=folder)
        return folder / "checkpoints" / job

    return train


@pytest.mark.parametrize("job", JOBS)
def test_a_run_that_was_stopped_is_the_run_that_was_not(
    run_of: Callable[[str], Path], job: str, tmp_path: Path
):
    pytest.importorskip(NEEDED[job])
    words = ["train", *JOBS[job], *TOTAL, "--run", "r"]
    run_job(2, *words, "--max-seconds", "0.001", cwd=tmp_path)
    run_job(0, *words, "--max-seconds", "0", cwd=tmp_path)
    run_dir, whole = tmp_path / "checkpoints" / "r", run_of(job)
    assert_same_bits(run_dir, whole, ("model", "optimizer"))
    assert_same_progress(run_dir, whole)
    assert episodes(run_dir) == episodes(whole)
    kept, expected = (arrays(path, "environments") for path in (run_dir, whole))
    names = {name for name in expected if "_memory/" in name}
    assert len(names) == (6 if job == "memory" else 4)
    for name in names:
        np.testing.assert_array_equal(kept[name], expected[name])
    assert any(kept[name].any() for name in names)


@pytest.mark.parametrize("job", JOBS)
def test_it_is_evaluated_recorded_and_played(
    run_of: Callable[[str], Path], job: str, tmp_path: Path
):
    pytest.importorskip(NEEDED[job])
    run = str(run_of(job))
    few = ["--episodes", "2", "--json", "e.json", "--levels", "train"]
    run_job(0, "evaluate", "--run", run, *few, cwd=tmp_path)
    (played,) = json.loads((tmp_path / "e.json").read_text())["episodes"].values()
    assert len(played) == 2
    for mode in ("record", "play"):
        run_job(0, mode, "--run", run, "--seconds", "2", "--asset-dir", mode, cwd=tmp_path)
        (video,) = (tmp_path / mode).rglob("*.mp4")
        assert video.stat().st_size > 1000
