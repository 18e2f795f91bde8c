"""Jobs that are forked from a process with torch in it are those that start from nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import job_environment, run_forked, run_job, start_command
from runs import JOBS, assert_same_bits, assert_same_progress, newest
from warm_start import MOST_SERVERS, is_warm, warm_words

from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.distributed.signals import EXIT_STOPPED

pytestmark = pytest.mark.skipif(not is_warm(), reason="jobs start from nothing here")
TRAIN = ["train", *JOBS["probe:box"]]


def test_a_forked_job_does_what_one_from_nothing_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told, commands = [], []
    for cold in ("0", "1"):
        monkeypatch.setenv("PPO_MPI_COLD_JOBS", cold)
        words = [*TRAIN, "--total-timesteps", "1024", "--run", f"cold{cold}"]
        done = run_job(2, *words, cwd=tmp_path)
        run_dir = tmp_path / "checkpoints" / f"cold{cold}"
        told.append((done.stdout + done.stderr).replace(run_dir.name, "r"))
        system = json.loads((run_dir / "system.json").read_text())
        commands.append(json.dumps(system).count("ppo_mpi/__main__.py train probe:box"))
    assert told[0] == told[1]
    assert commands[0] == commands[1] > 0
    one, other = (tmp_path / "checkpoints" / f"cold{cold}" for cold in ("0", "1"))
    assert_same_bits(one, other, ("model", "optimizer", "normalizers"))
    assert_same_progress(one, other)


def test_a_forked_job_that_fails_leaves_with_the_same_words_and_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = []
    for cold in ("0", "1"):
        monkeypatch.setenv("PPO_MPI_COLD_JOBS", cold)
        done = run_job(3, *TRAIN, "--num-envs", "2", cwd=tmp_path, status=2)
        told.append(done.stderr)
    assert told[0] == told[1]
    assert "num_envs=2" in told[0]


DRAWS = """
import random
import numpy
import torch
print(random.random(), numpy.random.random(), torch.rand(()).item(), hash("order of a set"))
"""


def test_what_no_seed_decides_differs_between_forked_jobs(tmp_path: Path):
    script = tmp_path / "draws.py"
    script.write_text(DRAWS)
    # One more than there are processes to fork from: one of them is asked twice.
    jobs = [run_forked(0, [str(script)], cwd=tmp_path) for _ in range(MOST_SERVERS + 1)]
    for drawn in zip(*[job.stdout.split()[:3] for job in jobs], strict=True):
        assert len(set(drawn)) == len(jobs)
    assert len({job.stdout.split()[3] for job in jobs}) == MOST_SERVERS


INTERRUPTED = """
from pathlib import Path
from jobs import run_forked
run_forked(0, ["endless.py"], cwd=Path.cwd())
"""
ENDLESS = """
import os, pathlib, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path("new").write_text(f"{os.getpid()} {os.getppid()}")
pathlib.Path("new").rename("pids")
time.sleep(600)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_tests_that_are_interrupted_leave_no_job_and_no_folder(name: str, tmp_path: Path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "tmp").mkdir()
    environ = job_environment() | {"TMPDIR": str(tmp_path / "tmp")}
    environ["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[1])
    tests = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "pids").exists():
        assert tests.poll() is None
        assert time.monotonic() < deadline, "the job does not begin"
        time.sleep(0.05)
    if name == "SIGINT":
        os.killpg(tests.pid, signal.SIGINT)  # as a terminal does
    else:
        tests.kill()
    tests.wait(60)
    pids = (tmp_path / "pids").read_text().split()
    while any(Path(f"/proc/{pid}/fd/0").exists() for pid in pids) or [
        *(tmp_path / "tmp").iterdir()
    ]:
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_what_comes_to_the_process_that_stands_for_a_rank_comes_to_the_rank(
    name: str, tmp_path: Path
):
    words = [*TRAIN, "--total-timesteps", "50M", "--checkpoint-every", "1000000", "--run", "r"]
    program = warm_words(0, ["-m", "ppo_mpi", *words], job_environment())
    job = start_command([sys.executable, *program], tmp_path)
    run_dir = tmp_path / "checkpoints" / "r"
    deadline = time.monotonic() + 120
    progress = run_dir / "progress.csv"
    record = None
    while record is None or not progress.exists() or progress.read_text().count("\n") < 2:
        record = read_record(run_dir / "ranks", HEARTBEAT, 0)  # not from the first moment on
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, "the job does not get anywhere"
        time.sleep(0.05)
    rank = record["pid"]
    assert rank != job.pid
    job.send_signal(getattr(signal, name))
    job.communicate(timeout=60)
    if name == "SIGTERM":
        assert job.returncode == EXIT_STOPPED
        assert newest(run_dir).is_dir()  # saved where it stopped
    else:
        assert job.returncode == -signal.SIGKILL
    while Path(f"/proc/{rank}").exists():
        assert time.monotonic() < deadline, "the rank has outlived who stood for it"
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(rank, 0)
