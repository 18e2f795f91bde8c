"""Phases keep the promises: the same on any number of ranks, and after any interruption."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import run_job
from runs import (
    COMMON,
    ITERATION,
    arrays,
    assert_near,
    assert_same_bits,
    assert_same_progress,
    episodes,
    newest,
    progress,
    seldom,
)

PHASES = ["--algorithm", "ppg", "--policy-iterations", "3", "--aux-epochs", "2",
          "--aux-minibatches", "2", *COMMON]  # fmt: skip
JOBS = {
    # Two networks; values have epochs of their own.
    "dual": [
        "CartPole-v1", "--shared-torso", "false", "--normalize-observations", "true",
        "--value-epochs", "3", "--aux-learning-rate", "2e-3", "--max-grad-norm", "0", *PHASES,
    ],
    # One network for both, images, a value head in a unit of its own.
    "single": [
        "starpilot", "--channel-multiplier", "0.25", "--feature-size", "32", "--num-levels", "20",
        "--num-test-envs", "2", "--shared-torso", "true", "--normalize-values", "true", *PHASES,
    ],
    # Actions of several kinds at once, clipped in parts.
    "joint": [
        "probe:tuple", "--box-actions", "squash", "--shared-torso", "false",
        "--clip-gradients", "parts", "--value-learning-rate", "2e-3", *PHASES,
    ],
}  # fmt: skip
TOTAL = ["--total-timesteps", str(5 * ITERATION)]
"""A phase and two thirds of the next one."""


def optimizers(job: str) -> tuple[str, ...]:
    return ("optimizer", "aux_optimizer") + ("value_optimizer",) * (job == "dual")


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Return a function that trains five iterations, once for each number of ranks."""
    folder = tmp_path_factory.mktemp("phases")

    @functools.cache
    def train(job: str, ranks: int) -> Path:
        turns = ["--turns", "2", "--transport", "torch"] if ranks == 2 else []
        words = ["train", *JOBS[job], *TOTAL, *turns]
        run_job(ranks, *words, "--run", f"{job}{ranks}", cwd=folder)
        return folder / "checkpoints" / f"{job}{ranks}"

    return train


def assert_same(run_dir: Path, other: Path, job: str) -> None:
    assert_same_bits(run_dir, other, ("model", *optimizers(job)))
    assert_near(run_dir, other, "normalizers", relative=1e-12)
    assert_same_progress(run_dir, other)
    assert episodes(run_dir) == episodes(other)
    states = [json.loads((newest(path) / "state.json").read_text()) for path in (run_dir, other)]
    assert [state["phase_rollouts"] for state in states] == [2, 2]
    one, two = (arrays(path, "environments") for path in (run_dir, other))
    phase = {name for name in one if name.startswith("phase/")}
    assert len(phase) == 8
    # Targets are sums in float32: on other numbers of ranks the same bits all the same.
    assert all(one[name].tobytes() == two[name].tobytes() for name in phase)


@pytest.mark.parametrize(
    ("job", "ranks"),
    [("dual", 2), ("single", 2), ("joint", 2), *(seldom(job, 3) for job in JOBS)],
)
def test_the_number_of_ranks_does_not_change_what_phases_learn(
    run_of: Callable[[str, int], Path], job: str, ranks: int
):
    assert_same(run_of(job, 0), run_of(job, ranks), job)


@pytest.mark.parametrize("job", JOBS)
def test_the_compared_runs_had_one_auxiliary_phase_and_learned_in_it(
    run_of: Callable[[str, int], Path], job: str
):
    rows = progress(run_of(job, 0))
    assert [float(row["phase_rollouts"]) for row in rows] == [1, 2, 0, 1, 2]
    losses = [row["aux_loss"] for row in rows]
    assert [bool(loss) for loss in losses] == [False, False, True, False, False]
    assert 0 < float(rows[2]["aux_clone_kl"]) < 0.1
    assert math.isfinite(float(losses[2]))
    for stem in optimizers(job)[1:]:
        moments = arrays(run_of(job, 0), stem)
        steps = {float(v) for name, v in moments.items() if name.endswith("/step")}
        assert steps == ({2 * 3 * 2} if stem == "aux_optimizer" else {5 * 3 * 3})
    assert all(v.any() for name, v in arrays(run_of(job, 0), "aux_optimizer").items())


@pytest.mark.parametrize(("job", "ranks"), [
    seldom("dual", (0, 0, 0, 0, 0)), ("dual", (3, 2, 0, 3, 2)), ("single", (2, 3, 0)),
    ("joint", (0, 3)),
])  # fmt: skip
def test_a_run_that_was_stopped_anywhere_in_a_phase_is_the_run_that_was_not(
    run_of: Callable[[str, int], Path], job: str, ranks: tuple[int, ...], tmp_path: Path
):
    words = ["train", *JOBS[job], *TOTAL, "--run", "r"]
    for number in ranks[:-1]:
        run_job(number, *words, "--max-seconds", "0.001", cwd=tmp_path)
    done = run_job(ranks[-1], *words, "--max-seconds", "0", cwd=tmp_path)
    assert "fresh phase" not in done.stdout + done.stderr
    assert_same(tmp_path / "checkpoints" / "r", run_of(job, 0), job)


def test_a_phase_that_checkpoints_do_not_hold_begins_afresh_and_says_so(tmp_path: Path):
    words = ["train", *JOBS["dual"], *TOTAL, "--run", "r", "--saved-phase-mebibytes", "0"]
    words += ["--display", "plain"]
    done = run_job(0, *words, "--max-seconds", "0.001", cwd=tmp_path)
    assert "checkpoints do not hold these rollouts" in done.stdout
    run_dir = tmp_path / "checkpoints" / "r"
    assert not any(name.startswith("phase/") for name in arrays(run_dir, "environments"))
    done = run_job(2, *words, "--max-seconds", "0", cwd=tmp_path)
    assert "1 rollout(s) of the phase under way are not there any more" in done.stdout + done.stderr
    rollouts = [float(row["phase_rollouts"]) for row in progress(run_dir)]
    assert rollouts == [1, 1, 2, 0, 1]
