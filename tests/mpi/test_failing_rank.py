"""A rank that fails ends the whole job in seconds, and its traceback is printed once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import allowed

BESIDE_PYTHON = Path(sys.executable).with_name("mpirun")
MPIRUN = str(BESIDE_PYTHON) if BESIDE_PYTHON.exists() else shutil.which("mpirun")

pytestmark = pytest.mark.skipif(MPIRUN is None, reason="no mpirun: pip install 'ppo_mpi[mpich]'")

# A real environment that breaks on the ranks named, long after the job has begun.
BREAKING = """
import os, time
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
from mpi4py import MPI

class Breaking(CartPoleEnv):
    steps = 0

    def step(self, action):
        Breaking.steps += 1
        if Breaking.steps == 300 and str(MPI.COMM_WORLD.Get_rank()) in os.environ["BROKEN"]:
            open(os.environ["WHEN"], "w").write(str(time.time()))
            raise EXCEPTION
        return super().step(action)

gymnasium.register("Breaking-v0", Breaking, max_episode_steps=500)
"""


@pytest.mark.parametrize(
    ("broken", "exception", "report"),
    [
        ("1", "RuntimeError('the pole broke')", "rank 1: Traceback"),
        ("0", "RuntimeError('the pole broke')", "rank 0: Traceback"),
        ("0,1", "RuntimeError('the pole broke')", "rank 0: Traceback"),
        ("1", "SystemExit('the pole broke')", "rank 1: Traceback"),
    ],
)
def test_a_failing_rank_ends_the_job_with_its_traceback_once(broken, exception, report, tmp_path):
    (tmp_path / "breaking.py").write_text(BREAKING.replace("EXCEPTION", exception))
    environ = os.environ | {"BROKEN": broken, "WHEN": str(tmp_path / "when")}
    environ |= {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    environ |= {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environ.get("PYTHONPATH", "")])
    words = ["train", "gym:breaking:Breaking-v0", "--run", "r"]
    done = subprocess.run(
        [str(MPIRUN), "-np", "2", sys.executable, "-m", "ppo_mpi", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        env=environ,
    )
    seconds = time.time() - float((tmp_path / "when").read_text())
    assert done.returncode != 0
    assert report in done.stderr
    assert len(re.findall(r"^rank \d: Traceback", done.stderr, re.MULTILINE)) == 1
    assert done.stderr.count("the pole broke") >= 1
    assert seconds < allowed(5)
    assert (tmp_path / "checkpoints" / "r" / "ranks" / "rank_001.log").exists()
