"""Bad input under mpirun: one clear message, once, exit status 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BESIDE_PYTHON = Path(sys.executable).with_name("mpirun")
MPIRUN = str(BESIDE_PYTHON) if BESIDE_PYTHON.exists() else shutil.which("mpirun")

pytestmark = pytest.mark.skipif(MPIRUN is None, reason="no mpirun: pip install 'ppo_mpi[mpich]'")


def run_ranks(num_ranks: int, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``mpirun -np num_ranks python -m ppo_mpi words`` in an empty folder."""
    environ = os.environ | {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    environ |= {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environ |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    command = [str(MPIRUN), "-np", str(num_ranks), sys.executable, "-m", "ppo_mpi", *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=120, env=environ
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the error messages among what the ranks printed."""
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if line.startswith("ppo_mpi: error:")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tain"], "unknown mode 'tain'; did you mean train?"),
        (
            ["train", "coinrn"],
            "unknown environment 'coinrn'; did you mean coinrun or coinrun_aisc?",
        ),
        (["train", "--preset", "cartpol"], "unknown preset 'cartpol'; did you mean cartpole "),
        (["train", "--num-evns", "3"], "unknown setting '--num-evns'; did you mean --num-envs"),
        (["train", "--num-envs", "x"], "num_envs='x' (command line) is not a whole number"),
        (["presets", "cartpol"], "unknown preset 'cartpol'; did you mean cartpole "),
    ],
)
def test_what_the_command_line_refuses_is_printed_once(words, message, tmp_path):
    done = run_ranks(2, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert [message in line for line in errors(done)] == [True]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "CartPole-v1", "--num-envs", "1", "--rollout-timesteps", "128"],
            "num_envs=1 is fewer than world_size=2; use num_envs=2 or more, or launch 1 ranks",
        ),
        (["train", "CartPol-v1"], "CartPol"),
        (["evaluate", "--run", "nowhere"], "nowhere"),
        (["record", "--run", "nowhere"], "nowhere"),
        (["play", "--run", "nowhere"], "nowhere"),
    ],
)
def test_what_the_modes_refuse_is_printed_once(words, message, tmp_path):
    done = run_ranks(2, *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert [message in line for line in errors(done)] == [True], done.stderr


def test_a_folder_that_cannot_be_written_is_named_once(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    words = ["train", "CartPole-v1", "--checkpoint-dir", "file"]
    done = run_ranks(2, *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert ["cannot write" in line and "file" in line for line in errors(done)] == [True]


def test_presets_are_listed_once_whatever_the_number_of_ranks(tmp_path):
    done = run_ranks(3, "presets", cwd=tmp_path)
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines() if line]
    assert names.count("cartpole") == 1
