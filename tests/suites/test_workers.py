"""Environments in worker processes do what they do in this process, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from jobs import allowed

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.heart import Heart
from ppo_mpi.envs.base import Discrete, StepResult, VecEnvs
from ppo_mpi.envs.worker import WorkerTracebackError, environment
from ppo_mpi.envs.workers import WorkerEnvs
from ppo_mpi.errors import CheckpointError, ConfigError, FailedEnvironmentError
from ppo_mpi.suites import make_envs

INDICES = (3, 4, 5, 6, 7)
"""Two workers have two and three of them."""
# Pendulum is cut short after 200 steps, the probe after 10; the others end.
STEPS = {
    "CartPole-v1": 60,
    "Pendulum-v1": 205,
    "probe:box": 25,
    "probe:image": 12,
    "starpilot": 150,
    "starpilot,fruitbot": 150,
}
FAULTS = str(Path(__file__).parents[1] / "faults")


def maker(env: str, **named: object) -> Callable[[Sequence[int]], VecEnvs]:
    """Return what makes environments with given indices."""
    settings = {name: named.pop(name) for name in ("env_kwargs", "num_levels") if name in named}
    config = with_values(TrainConfig(), {"env": env, "num_levels": 5, **settings})
    return partial(make_envs, config, seed=11, stream="train", **named)  # type: ignore[arg-type]


@pytest.fixture
def in_workers() -> Iterator[Callable[..., WorkerEnvs]]:
    """Return a function that makes environments in two workers; they are closed afterwards."""
    made: list[WorkerEnvs] = []

    def make(env: str, num: int = 2, **named: object) -> WorkerEnvs:
        made.append(WorkerEnvs(maker(env, **named), INDICES, num))
        return made[-1]

    yield make
    for envs in made:
        envs.close()


def random_actions(envs: VecEnvs, num_steps: int, seed: int = 0) -> np.ndarray:
    rng, num = np.random.default_rng(seed), len(envs.indices)
    if isinstance(envs.action_spec, Discrete):
        return rng.integers(envs.action_spec.num_actions, size=(num_steps, num))
    return rng.normal(0, 2, size=(num_steps, num, len(envs.action_spec.low))).astype(np.float32)


def assert_equal(result: StepResult, expected: StepResult) -> None:
    for name in ("obs", "rewards", "terminated", "truncated", "levels"):
        one, other = getattr(result, name), getattr(expected, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)
    assert result.final_obs.keys() == expected.final_obs.keys()
    for slot, obs in result.final_obs.items():
        np.testing.assert_array_equal(obs, expected.final_obs[slot])
    assert result.dropped == expected.dropped


def worker_pids() -> list[int]:
    """Return the worker processes that this process has started, as the system lists them."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"ppo_mpi.envs.worker_process" in words:
                found.append(int(pid))
    return found


@pytest.mark.parametrize("env", STEPS)
def test_workers_do_what_one_process_does(env: str, in_workers: Callable[..., WorkerEnvs]):
    expected, envs = maker(env)(INDICES), in_workers(env)
    assert envs.indices == INDICES
    assert (envs.obs_spec, envs.action_spec) == (expected.obs_spec, expected.action_spec)
    np.testing.assert_array_equal(envs.reset(), expected.reset())
    ends = cuts = 0
    for step, actions in enumerate(random_actions(envs, STEPS[env])):
        if step == 5:  # the next episodes of slots of both workers are prescribed
            for slot in (0, 4):
                for each in (envs, expected):
                    each.assign(slot, 77 + slot, 3 if "starpilot" in env else None)
        result = envs.step(actions)
        assert_equal(result, expected.step(actions))
        np.testing.assert_array_equal(envs.levels, expected.levels)
        np.testing.assert_array_equal(envs.observe(), expected.observe())
        ends += int(result.terminated.sum())
        cuts += len(result.final_obs)
    assert ends + cuts > 0
    assert (cuts > 0) == (env != "CartPole-v1" and "starpilot" not in env)
    np.testing.assert_array_equal(envs.reset(), expected.reset())
    expected.close()


@pytest.mark.parametrize("env", STEPS)
def test_states_go_from_workers_to_one_process_and_back(
    env: str, in_workers: Callable[..., WorkerEnvs]
):
    envs = in_workers(env)
    envs.reset()
    for actions in random_actions(envs, 9):
        envs.step(actions)
    shown, states = envs.observe(), envs.get_states()
    alone = maker(env)(INDICES)
    alone.reset()
    fresh = alone.set_states([states[0], None, *states[2:]])
    assert fresh == [1]
    if "starpilot" not in env:  # Procgen's engines write their own slots into the states
        assert alone.get_states()[2:] == states[2:]
    others = in_workers(env, 3)
    assert others.set_states([states[0], None, *states[2:4], None]) == [1, 4]
    for slot in (0, 2, 3):
        np.testing.assert_array_equal(others.observe()[slot], shown[slot])
    for actions in random_actions(envs, 30, seed=1):
        expected, result, other = (each.step(actions) for each in (envs, alone, others))
        for slot in (0, 2, 3):
            np.testing.assert_array_equal(expected.obs[slot], result.obs[slot])
            np.testing.assert_array_equal(expected.obs[slot], other.obs[slot])
    alone.close()


def test_frames_are_those_of_one_process(in_workers: Callable[..., WorkerEnvs]):
    envs = in_workers("CartPole-v1", render=True)
    expected = maker("CartPole-v1", render=True)(INDICES)
    envs.reset(), expected.reset()
    frames = envs.render()
    assert len(frames) == len(INDICES)
    for frame, other in zip(frames, expected.render(), strict=True):
        np.testing.assert_array_equal(frame, other)
    expected.close()


def test_a_result_stays_as_it_is_when_the_next_step_is_taken(
    in_workers: Callable[..., WorkerEnvs],
):
    envs = in_workers("CartPole-v1")
    envs.reset()
    first = envs.step(np.zeros(5, np.int64))
    kept = first.obs.copy()
    envs.step(np.ones(5, np.int64))
    np.testing.assert_array_equal(first.obs, kept)


def test_more_workers_than_environments_are_not_started(in_workers: Callable[..., WorkerEnvs]):
    before = len(worker_pids())
    envs = in_workers("CartPole-v1", 9)
    assert len(worker_pids()) - before == 5
    envs.reset()


def test_what_cannot_be_made_is_the_same_error_and_leaves_no_process():
    before = worker_pids()
    with pytest.raises(ConfigError, match="unknown Gymnasium environment 'NoSuch-v0'"):
        WorkerEnvs(maker("NoSuch-v0"), INDICES, 2)
    assert worker_pids() == before


def test_a_damaged_state_is_the_same_error_and_the_environments_live_on(
    in_workers: Callable[..., WorkerEnvs],
):
    envs = in_workers("CartPole-v1")
    envs.reset()
    with pytest.raises(CheckpointError, match="environment 6 is damaged"):
        envs.set_states([None, None, None, b"{", None])
    envs.step(np.zeros(5, np.int64))


def test_an_environment_that_raises_in_a_worker_raises_the_same_here(
    in_workers: Callable[..., WorkerEnvs], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(FAULTS)
    how = {"env_kwargs": ("how=always",)}
    message = r"broken_env:Broken-v0, environment 3 of the job, raised in step\(\): ValueError"
    causes = []
    for envs in (in_workers("gym:broken_env:Broken-v0", **how),
                 maker("gym:broken_env:Broken-v0", **how)(INDICES)):  # fmt: skip
        envs.reset()
        with pytest.raises(FailedEnvironmentError, match=message) as caught:
            envs.step(np.zeros(5, np.int64))
        assert "--restart-failed-envs true" in str(caught.value)
        causes.append(caught.value.__cause__)
    # The worker's own stack is not lost.
    assert isinstance(causes[0], WorkerTracebackError)
    assert "broken_env.py" in str(causes[0])
    assert isinstance(causes[1], ValueError)


def test_an_environment_that_raises_is_made_anew_in_its_worker(
    in_workers: Callable[..., WorkerEnvs], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(FAULTS)
    how = {"env_kwargs": ("how=raise", "step=5", "every=6"), "restart_failed": True}
    name = "gym:broken_env:Broken-v0"
    envs, expected = in_workers(name, **how), maker(name, **how)(INDICES)
    envs.reset(), expected.reset()
    for actions in random_actions(envs, 30):
        assert_equal(envs.step(actions), expected.step(actions))
        assert envs.restarts == expected.restarts
    assert envs.restarts > 0


@pytest.mark.parametrize(
    ("code", "told"),
    [("os._exit(7)", "ended with status 7"), ("os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
     ("sys.exit(3)", "ended with status 3")],
)  # fmt: skip
def test_a_worker_that_ends_in_its_constructor_is_told(code: str, told: str):
    def make(indices: Sequence[int]) -> VecEnvs:  # travels by value
        import os
        import sys

        if 5 in indices:
            eval(code, {"os": os, "sys": sys})
        return maker("probe:box")(indices)

    with pytest.raises(FailedEnvironmentError) as caught:
        WorkerEnvs(make, INDICES, 2)
    assert "worker 1 with environments 5 to 7 (process " in str(caught.value)
    assert f"{told} while it made its environments" in str(caught.value)
    assert "start the same command again" in str(caught.value)


def test_a_worker_that_is_killed_is_told_by_the_next_step(in_workers: Callable[..., WorkerEnvs]):
    before = set(worker_pids())
    envs = in_workers("probe:box")
    envs.reset()
    first, _ = sorted(set(worker_pids()) - before)
    os.kill(first, signal.SIGKILL)
    message = r"worker 0 with environments 3 to 4 .* was killed by SIGKILL \(if nobody did that, "
    with pytest.raises(FailedEnvironmentError, match=message):
        envs.step(np.zeros((5, 1), np.float32))


def test_signals_to_the_whole_job_do_not_end_a_worker(in_workers: Callable[..., WorkerEnvs]):
    before = set(worker_pids())
    envs = in_workers("probe:box")
    own = set(worker_pids()) - before
    assert own
    for pid in own:
        for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
            os.kill(pid, getattr(signal, name))
    envs.reset()
    assert len(envs.step(np.zeros((5, 1), np.float32)).rewards) == 5
    assert set(worker_pids()) - before == own


def test_closed_environments_leave_no_process_and_may_be_closed_again():
    before = worker_pids()
    envs = WorkerEnvs(maker("probe:box"), INDICES, 2)
    assert len(worker_pids()) == len(before) + 2
    envs.close()
    envs.close()
    assert worker_pids() == before


SCRIPT = """
import os, signal, sys, time
from tests.suites.test_workers import INDICES, WorkerEnvs, maker, worker_pids
envs = WorkerEnvs(maker("probe:box"), INDICES, 2)
envs.reset()
print(*worker_pids(), flush=True)
{end}
"""


@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)", "raise SystemExit(3)",
     "raise ValueError('on purpose')"],
)  # fmt: skip
def test_workers_end_with_their_rank_however_it_ends(end: str):
    root = str(Path(__file__).parents[2])
    environ = environment(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join([root, f"{root}/tests", environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end=end)], cwd=root, env=environ,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    deadline = time.monotonic() + allowed(5)
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"of {pids} some are still there"
        time.sleep(0.02)
    assert not [name for name in os.listdir("/dev/shm") if "ppo_mpi" in name]


def test_a_worker_has_neither_torch_nor_a_launchers_variables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")

    def make(indices: Sequence[int]) -> VecEnvs:
        import os
        import sys

        envs = maker_by_reference(indices)
        seen = [name for name in ("torch", "mpi4py") if name in sys.modules]
        seen += [name for name in os.environ if name.startswith(("PMI_", "OMPI_COMM"))]
        raise ValueError(
            f"seen {seen}, {os.environ['OMP_NUM_THREADS']} thread, {len(envs.indices)}"
        )

    maker_by_reference = maker("coinrun")
    with pytest.raises(ValueError, match=r"seen \[\], 1 thread, 2"):
        WorkerEnvs(make, INDICES, 2)


def test_a_rank_knows_whom_it_waits_for(in_workers: Callable[..., WorkerEnvs]):
    heart, seen = Heart(), []

    class Spy(Heart):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "worker" and value is not None:
                seen.append(self.describe())

    heart = Spy()
    envs = WorkerEnvs(maker("probe:box"), INDICES, 2, heart)
    heart.beat("collecting")
    seen.clear()
    envs.reset()
    envs.close()
    assert seen[0].startswith("collecting, waiting for worker 0 with environments 3 to 4 (process ")
    assert seen[1].startswith("collecting, waiting for worker 1 with environments 5 to 7 (process ")
    assert heart.describe() == "collecting"
