"""A real Slurm on one machine: one controller, and a node in each of several namespaces.

A node's host name is its NodeName, it has a network and shared memory of its own, and a folder of
its own for what PMIx keeps there: without these Open MPI takes the nodes for one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hosts import Hosts
from jobs import allowed

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch")
PACKAGES = "slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins libpmix2"
CPUS = 4
KILL_WAIT_SECONDS = 5
GRACE_SECONDS = 25
"""What a job that is preempted has to save and leave."""

CONFIG = """
ClusterName=test
SlurmctldHost={host}({gateway})
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmdTimeout=15
KillWait={kill_wait}
JobRequeue=1
ReturnToService=2
MpiDefault=none
MailProg=/bin/true
PropagateResourceLimits=NONE
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=DEFAULT CPUs={cpus} State=UNKNOWN
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 GraceTime={grace}
PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""


def need_slurm() -> None:
    """Skip the test where Slurm is not installed."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install {PACKAGES}")


class Slurm:
    """The cluster; ``start`` and ``stop`` it."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.hosts = hosts
        self.folder = folder
        self._port = 20_000 + os.getpid() % 20_000

    @property
    def environment(self) -> dict[str, str]:
        """What Slurm's programs need to find this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start the daemons and wait until all nodes are idle."""
        for name in ("state", "log", "munge", "pmix", "libraries"):
            (self.folder / name).mkdir()
        self._write_config()
        self._link_pmix()
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        (self.folder / "munge").chmod(0o711)
        munge = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log",
                 "seed-file": "seed"}  # fmt: skip
        words = [f"--{option}={self.folder}/munge/{file}" for option, file in munge.items()]
        self._call(["munged", "--force", *words])
        self._call(["slurmctld", "-i"])
        for name in self.hosts.names:
            self._call([*self.enter(name), f"exec slurmd -N {name}"])
        deadline = time.monotonic() + allowed(30)
        while self.call("sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D").strip() != str(
            len(self.hosts.names)
        ):
            assert time.monotonic() < deadline, self.call("sinfo", "-N", "-l")
            time.sleep(0.1)

    def _write_config(self) -> None:
        nodes = [
            f"NodeName={name} NodeHostname={name} NodeAddr={self.hosts.address(name)}"
            for name in self.hosts.names
        ]
        text = CONFIG.format(
            host=os.uname().nodename, gateway=self.hosts.gateway, folder=self.folder,
            port=self._port, node_port=self._port + 1, cpus=CPUS, nodes="\n".join(nodes),
            kill_wait=KILL_WAIT_SECONDS, grace=GRACE_SECONDS,
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "mpi.conf").write_text(f"PMIxCliTmpDirBase={self.folder}/pmix\n")

    def _link_pmix(self) -> None:
        """Make a folder in which the library has the name by which Slurm's plugin looks for it."""
        found = sorted(Path("/usr/lib").glob("*/pmix2/lib/libpmix.so.2"))
        if not found:
            pytest.skip(f"needs libpmix: apt-get install {PACKAGES}")
        self._pmix = found[0].parent
        for path in self._pmix.iterdir():
            (self.folder / "libraries" / path.name).symlink_to(f"{self.folder}/real/{path.name}")
        (self.folder / "libraries" / "libpmix.so").unlink(missing_ok=True)
        (self.folder / "libraries" / "libpmix.so").symlink_to(f"{self.folder}/real/{found[0].name}")
        (self.folder / "real").mkdir()

    def _mounts(self, name: str) -> str:
        own = self.folder / f"pmix.{name}"
        own.mkdir(exist_ok=True)
        return (
            f"mount --bind {self._pmix} {self.folder}/real; "
            f"mount --bind {self.folder}/libraries {self._pmix}; "
            f"mount --bind {own} {self.folder}/pmix;"
        )

    def enter(self, name: str) -> list[str]:
        """Return the words behind which a shell's line runs on a node."""
        return self.hosts.enter(name, self._mounts(name))

    def on_login_node(self, words: list[str]) -> list[str]:
        """Return the command that runs ``words`` beside the controller, with PMIx to be found."""
        return ["unshare", "--mount", "sh", "-c", f'{self._mounts("login")} exec "$@"', "-", *words]

    def _call(self, words: list[str]) -> None:
        # A daemon keeps the descriptors that it was given: none may be a pipe that is waited for.
        log = self.folder / "log" / "start"
        with log.open("a") as output:
            done = subprocess.run(
                words, env=os.environ | self.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, timeout=allowed(30), check=False,
            )  # fmt: skip
        assert done.returncode == 0, f"{words}:\n{log.read_text()}"

    def call(self, *words: str) -> str:
        """Run one of Slurm's programs and return what it prints."""
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    def state(self, job: str) -> dict[str, str]:
        """Return what scontrol shows of a job."""
        words = self.call("scontrol", "-o", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, *states: str, seconds: float) -> str:
        """Wait until a job is in one of these states, and return which."""
        deadline = time.monotonic() + allowed(seconds)
        while (state := self.state(job).get("JobState", "")) not in states:
            assert time.monotonic() < deadline, f"job {job} is {state}, not {states}"
            time.sleep(0.2)
        return state

    def restart_node(self, name: str) -> None:
        """Bring a node back that has died."""
        self._call([*self.enter(name), f"exec slurmd -N {name}"])

    def stop(self) -> None:
        """End all jobs and daemons of this cluster."""
        self.call("scancel", "-u", "root")
        deadline = time.monotonic() + 10
        while self.call("squeue", "-h").strip() and time.monotonic() < deadline:
            time.sleep(0.2)
        files = [*self.folder.glob("*.pid"), self.folder / "munge" / "pid"]
        for path in files:
            if path.exists() and path.read_text().strip():
                end_process(int(path.read_text()))


def end_process(pid: int) -> None:
    """Ask a daemon to end, and see to it."""
    deadline = time.monotonic() + 5
    number = signal.SIGTERM
    while is_daemon(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.1)


def is_daemon(pid: int) -> bool:
    """Return whether that process is one; a node that has died leaves a number behind."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"slurm" in words or b"munge" in words
