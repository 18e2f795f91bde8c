"""A run that a signal stopped goes on on another number of ranks with the undisturbed run's curve.

In float32 the bits are the same: of the model, the optimizer, the normalizers, the environments
and of every line of the curves.
"""

from __future__ import annotations

import functools
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import run_job, start_job
from runs import ITERATION, JOBS, assert_same_bits, assert_same_progress, episodes, newest
from wheels import WHEELS

from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.envs.procgen_state import unseal, with_slot
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import is_done

ITERATIONS = {"starpilot": 8, "CartPole": 24, "uneven": 24, "off": 24, "scheduled": 24}
# Ten environments on four ranks: 3, 3, 2 and 2 of them; on three: 4, 3 and 3.
TEN = [*JOBS["CartPole"], "--num-envs", "10", "--rollout-timesteps", str(ITERATION - 2)]
CASES = {
    "starpilot": JOBS["starpilot"],
    "CartPole": JOBS["CartPole"],
    "uneven": TEN,
    "off": [*TEN, "--soft-resets", "off"],
    "scheduled": [*TEN, "--soft-resets", "scheduled", "--soft-resets-from", "0.4"],
}
STOPS = {
    "starpilot": [(4, 2), (2, 3)],
    "CartPole": [(4, 2), (2, 3)],
    "uneven": [(4, 3), (3, 4)],
    "off": [(4, 3), (2, 3)],
    "scheduled": [(4, 3), (4, 2)],
}
SAMPLE = ("scheduled", 4, 3, "mpich")
COMPARED = [
    pytest.param(*case, marks=() if case == SAMPLE else pytest.mark.faults)
    for case in (
        (name, before, after, wheel)
        for name, stops in STOPS.items()
        for before, after in stops
        for wheel in WHEELS
    )
]
SECONDS_TO_START = 120.0


def words(case: str) -> list[str]:
    iteration = int(CASES[case][len(CASES[case]) - CASES[case][::-1].index("--rollout-timesteps")])
    return ["train", *CASES[case], "--run", case,
            "--total-timesteps", str(iteration * ITERATIONS[case])]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that trains a case at once on one process: case -> its run."""
    folder = tmp_path_factory.mktemp("undisturbed")

    @functools.cache
    def train(case: str) -> Path:
        run_job(0, *words(case), cwd=folder)
        return folder / "checkpoints" / case

    return train


def wait_for_iteration(number: int, run_dir: Path, job: subprocess.Popen[str]) -> int:
    """Return the process of the last rank once it is in that iteration."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        assert job.poll() is None, job.communicate()
        record = read_record(run_dir / "ranks", HEARTBEAT, 1)
        if record and record["iteration"] >= number:
            return int(record["pid"])
        time.sleep(0.02)
    raise AssertionError("the job does not get anywhere")


@pytest.mark.parametrize(("case", "before", "after", "wheel"), COMPARED)
def test_a_run_that_a_signal_stopped_goes_on_on_more_or_fewer_ranks_to_the_same_bits(
    undisturbed: Callable[[str], Path],
    case: str,
    before: int,
    after: int,
    wheel: str,
    tmp_path: Path,
):
    run_dir = tmp_path / "checkpoints" / case
    job = start_job(before, *words(case), cwd=tmp_path, wheel=wheel)
    wait_for_iteration(3, run_dir, job)
    job.send_signal(signal.SIGUSR1)  # to the launcher, which hands it to every rank
    output, errors = job.communicate(timeout=60)
    assert job.returncode == EXIT_STOPPED, output + errors
    stopped_at = load_checkpoint(newest(run_dir)).state
    assert stopped_at["world_size"] == before
    assert 2 <= stopped_at["iteration"] < ITERATIONS[case], "it was not stopped in its midst"

    run_job(after, *words(case), cwd=tmp_path, wheel=wheel)
    one = undisturbed(case)
    assert is_done(run_dir)
    assert_same_bits(run_dir, one, ("model", "optimizer", "normalizers"))
    assert episodes(run_dir) == episodes(one)
    assert_same_progress(run_dir, one)
    assert environments(run_dir) == environments(one)
    assert load_checkpoint(newest(run_dir)).state["world_size"] == after


def environments(run_dir: Path) -> dict[str, bytes]:
    """Return the environments' states, Procgen's but for their place among those of a rank."""
    states = load_checkpoint(newest(run_dir)).environments
    if run_dir.name != "starpilot":
        return states
    return {key: with_slot(unseal(state), 0) for key, state in states.items()}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case == "scheduled" else pytest.mark.faults) for case in CASES],
)
def test_the_compared_runs_had_episodes_on_both_sides_of_the_stop(
    undisturbed: Callable[[str], Path], case: str
):
    iterations = [int(line.split(",")[0]) for line in episodes(undisturbed(case)).splitlines()[1:]]
    assert len(iterations) >= 20
    assert min(iterations) < 4
    # With episodes cut at the end of each rollout, a good agent ends none any more.
    assert max(iterations) >= 8
