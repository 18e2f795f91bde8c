"""A2C's short iterations keep the promises: on any number of ranks, and stopped within a row."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import run_job
from runs import (
    arrays,
    assert_near,
    assert_same_bits,
    assert_same_progress,
    episodes,
    newest,
    progress,
)

# 30 iterations of 8 environments x 5 steps, in rows of four; the last row has two.
ITERATIONS, EVERY = 30, 4
COMMON = [
    "--algorithm", "a2c", "--num-envs", "8", "--rollout-timesteps", "40", "--seed", "3",
    "--precision", "float32", "--normalize-observations", "true", "--normalize-rewards", "true",
    "--log-every", str(EVERY), "--display", "off", "--total-timesteps", str(40 * ITERATIONS),
]  # fmt: skip
JOBS = {
    "CartPole": ["CartPole-v1", *COMMON],
    "box": ["probe:box", "--preset", "mujoco-a2c", *COMMON, "--recurrent", "gru",
            "--recurrent-size", "12", "--normalize-values", "true"],
}  # fmt: skip


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Return a function that trains a job at once: (job, ranks) -> its run."""
    folder = tmp_path_factory.mktemp("a2c")

    @functools.cache
    def train(job: str, ranks: int) -> Path:
        run_job(ranks, "train", *JOBS[job], "--run", f"{job}-{ranks}", cwd=folder)
        return folder / "checkpoints" / f"{job}-{ranks}"

    return train


def assert_same(run_dir: Path, other: Path) -> None:
    assert_same_bits(run_dir, other, ("model", "optimizer"))
    assert_near(run_dir, other, "normalizers", relative=1e-12)
    assert_same_progress(run_dir, other)
    assert episodes(run_dir) == episodes(other)


@pytest.mark.parametrize("ranks", [2, 3])
def test_it_has_the_same_bits_on_any_number_of_ranks(
    run_of: Callable[[str, int], Path], ranks: int
):
    assert_same(run_of("CartPole", ranks), run_of("CartPole", 1))


def test_the_compared_run_learned_and_had_episodes(run_of: Callable[[str, int], Path]):
    run_dir = run_of("CartPole", 1)
    rows = progress(run_dir)
    ends = [*range(EVERY, ITERATIONS, EVERY), ITERATIONS]
    assert [int(row["iteration"]) for row in rows] == ends
    means = arrays(run_dir, "optimizer")
    assert means
    assert all(name.endswith("/square_avg") for name in means)
    assert all(mean.any() for mean in means.values())
    # As many as there are rows of episodes: none is lost between the rows of the curves.
    assert int(rows[-1]["num_episodes"]) == len(episodes(run_dir).splitlines()) - 1 > 20


@pytest.mark.parametrize(("job", "ranks"), [("CartPole", (2, 0)), ("box", (3, 0))])
def test_a_run_that_is_stopped_within_a_row_goes_on_as_if_nothing_had_happened(
    run_of: Callable[[str, int], Path], job: str, ranks: tuple[int, int], tmp_path: Path
):
    words = ["train", *JOBS[job], "--run", "r"]
    run_job(ranks[0], *words, "--max-seconds", "0.001", cwd=tmp_path)
    run_dir, whole = tmp_path / "checkpoints" / "r", run_of(job, 1)
    state = json.loads((newest(run_dir) / "state.json").read_text())
    assert 0 < state["iteration"] < EVERY
    run_job(ranks[1], *words, "--max-seconds", "0", cwd=tmp_path)
    assert_same(run_dir, whole)
    one, two = (json.loads((newest(r) / "state.json").read_text()) for r in (run_dir, whole))
    for name in ("windows", "num_episodes", "logged_iteration"):
        assert one["logger"][name] == two["logger"][name], name
