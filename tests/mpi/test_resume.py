"""Stopped and resumed = never stopped, to the bit; on other numbers of ranks as well."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import run_job
from runs import (
    ITERATION,
    JOBS,
    assert_near,
    assert_same_bits,
    assert_same_progress,
    episodes,
    newest,
    progress,
    seldom,
)

from ppo_mpi.storage.run_folder import checkpoints_of, is_done

TOTAL = ["--total-timesteps", str(6 * ITERATION)]
ONE_ITERATION = [*TOTAL, "--max-seconds", "0.001"]
"""The clock has run out when the first iteration is over."""
SMALL = [*JOBS["CartPole"], "--run", "r"]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that trains six iterations at once on one process: job -> its run."""
    folder = tmp_path_factory.mktemp("at_once")

    @functools.cache
    def train(job: str) -> Path:
        run_job(0, "train", *JOBS[job], *TOTAL, "--run", job.replace(":", "_"), cwd=folder)
        return folder / "checkpoints" / job.replace(":", "_")

    return train


@pytest.mark.parametrize(
    ("job", "ranks"),
    [
        ("starpilot", (0, 0)),
        ("CartPole", (0, 0, 0)),
        ("probe:box", (0, 0)),
        ("probe:tuple", (0, 0)),
        ("probe:picture_and_vector", (0, 0)),
        seldom("options", (0, 0, 0)),
    ],
)
def test_a_run_that_was_stopped_is_the_run_that_was_not(
    whole_run: Callable[[str], Path], job: str, ranks: tuple[int, ...], tmp_path: Path
):
    for number in ranks[:-1]:
        done = run_job(number, "train", *JOBS[job], *ONE_ITERATION, "--run", "r", cwd=tmp_path)
    run_dir = tmp_path / "checkpoints" / "r"
    assert newest(run_dir).name == f"step-{(len(ranks) - 1) * ITERATION:012d}"
    assert not is_done(run_dir)
    done = run_job(ranks[-1], "train", *JOBS[job], *TOTAL, "--max-seconds", "0", "--run", "r",
                   cwd=tmp_path)  # fmt: skip
    assert "Traceback" not in done.stderr
    whole = whole_run(job)
    assert_same_bits(run_dir, whole, ("model", "optimizer", "normalizers"))
    assert_same_progress(run_dir, whole)
    assert episodes(run_dir) == episodes(whole)
    assert is_done(run_dir)
    # Environments, running returns and all counters, too: their future is the same.
    if job != "starpilot":
        assert_same_bits(run_dir, whole, ("environments",))
    one, two = (json.loads((newest(r) / "state.json").read_text()) for r in (run_dir, whole))
    for name in ("running_returns", "train_episodes", "iteration", "timesteps", "best_return"):
        assert one[name] == two[name], name
    assert one["logger"]["windows"] == two["logger"]["windows"]


@pytest.mark.parametrize("job", ["CartPole", "options"])  # of Procgen: tests/faults
def test_a_run_goes_on_on_other_numbers_of_ranks_to_the_same_bits(
    whole_run: Callable[[str], Path], job: str, tmp_path: Path
):
    run_job(3, "train", *JOBS[job], *ONE_ITERATION, "--run", "r", cwd=tmp_path)
    run_job(1, "train", *JOBS[job], *ONE_ITERATION, "--run", "r", cwd=tmp_path)
    words = ["train", *JOBS[job], *TOTAL, "--max-seconds", "0", "--run", "r"]
    run_job(2, *words, cwd=tmp_path)
    run_dir, whole = tmp_path / "checkpoints" / "r", whole_run(job)
    assert_same_bits(run_dir, whole, ("model", "optimizer"))
    assert_near(run_dir, whole, "normalizers", relative=1e-12)
    assert_same_progress(run_dir, whole)
    assert episodes(run_dir) == episodes(whole)


def test_a_run_goes_on_with_and_without_worker_processes_to_the_same_bits(
    whole_run: Callable[[str], Path], tmp_path: Path
):
    words = ["train", *JOBS["CartPole"], "--run", "r"]
    run_job(2, *words, *ONE_ITERATION, "--env-workers", "2", cwd=tmp_path)
    run_job(0, *words, *ONE_ITERATION, "--env-workers", "0", cwd=tmp_path)
    words += [*TOTAL, "--max-seconds", "0"]
    run_job(0, *words, "--env-workers", "3", "--turns", "2", cwd=tmp_path)
    run_dir, whole = tmp_path / "checkpoints" / "r", whole_run("CartPole")
    assert_same_bits(run_dir, whole, ("model", "optimizer", "environments"))
    assert_same_progress(run_dir, whole)
    assert episodes(run_dir) == episodes(whole)


def times_of_files(run_dir: Path) -> dict[Path, int]:
    """Return when each file of a run was written last; the lock is taken even to look."""
    files = [path for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_finished_run_says_so_and_can_be_extended_or_begun_anew(
    whole_run: Callable[[str], Path], tmp_path: Path
):
    words = ["train", *SMALL, "--total-timesteps"]
    run_job(0, *words, str(3 * ITERATION), cwd=tmp_path)
    run_dir = tmp_path / "checkpoints" / "r"
    before = times_of_files(run_dir)

    done = run_job(0, *words, str(3 * ITERATION), cwd=tmp_path)
    assert "checkpoints/r is finished (1,536 timesteps); extend it with " in done.stdout
    assert "--total-timesteps 3072, or start over with --clobber" in done.stdout
    assert times_of_files(run_dir) == before, "a finished run was touched"

    run_job(0, *words, str(6 * ITERATION), cwd=tmp_path)
    whole = whole_run("CartPole")
    assert_same_bits(run_dir, whole, ("model", "optimizer", "normalizers"))
    assert_same_progress(run_dir, whole)
    assert episodes(run_dir) == episodes(whole)

    run_job(0, *words, str(ITERATION), "--clobber", "--seed", "4", cwd=tmp_path)
    assert [path.name for path in checkpoints_of(run_dir)] == [f"step-{ITERATION:012d}"]
    assert [row["iteration"] for row in progress(run_dir)] == ["1"]


def test_a_setting_that_shapes_learning_cannot_change_and_is_named(
    whole_run: Callable[[str], Path], tmp_path: Path
):
    shutil.copytree(whole_run("CartPole"), tmp_path / "checkpoints" / "r")
    words = ["train", "CartPole-v1", "--run", "r", "--discount", "0.5", "--num-envs", "16"]
    words += ["--checkpoint-every", "7"]
    done = run_job(2, *words, cwd=tmp_path, status=2)
    (error,) = [x for x in done.stderr.splitlines() if x.startswith("ppo_mpi: error")]
    assert "discount=0.5 (the run has 0.98), num_envs=16 (the run has 8) was given" in error
    assert "checkpoint_every" not in error
    assert "leave it out, use another --run, or --clobber to start over" in error


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_is_used(
    whole_run: Callable[[str], Path], tmp_path: Path
):
    words = ["train", *SMALL, "--checkpoint-every", "1"]
    run_job(0, *words, "--total-timesteps", str(4 * ITERATION), cwd=tmp_path)
    run_dir = tmp_path / "checkpoints" / "r"
    model = newest(run_dir) / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-7])
    done = run_job(2, *words, *TOTAL, cwd=tmp_path)
    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "step-000000002048 is damaged: model.safetensors has" in warnings[0]
    assert "using step-000000001536 instead" in warnings[0]
    whole = whole_run("CartPole")
    assert_same_bits(run_dir, whole, ("model", "optimizer"))
    assert episodes(run_dir) == episodes(whole)
    assert [row["iteration"] for row in progress(run_dir)] == ["1", "2", "3", "4", "5", "6"]
