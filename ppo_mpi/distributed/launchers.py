"""How each MPI's launcher is told what to start: ranks, hosts, options. Starts nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ppo_mpi.errors import ConfigError

Kind = Literal["Open MPI", "MPICH", "srun", "other"]

# Open MPI refuses root, and more ranks than cores, unless told otherwise; the names differ between
# versions 4 and 5. With more ranks than cores a waiting rank must leave its core to others.
OPEN_MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


@dataclass(frozen=True)
class Launcher:
    """A program that starts ranks."""

    path: str
    kind: Kind

    def command(
        self,
        ranks: int,
        hosts: dict[str, int],
        arguments: str,
        fault_tolerant: bool,
        program: Sequence[str],
    ) -> list[str]:
        """Return the whole command line.

        Args:
            ranks: how many.
            hosts: host -> ranks there at most; empty for this host, or the scheduler's choice.
            arguments: of the user, as a shell would split them.
            fault_tolerant: whether the launcher shall not end the job when a rank is lost.
            program: what each rank runs.
        """
        words = [self.path, "-n", str(ranks)]
        if self.kind == "Open MPI":
            # Bound to one core each, the ranks could not use the threads they are given.
            words += ["--bind-to", "none"]
            if fault_tolerant:
                words += ["--with-ft", "ulfm"]
        if self.kind == "srun":
            words += ["--kill-on-bad-exit=1"]
        if hosts:
            words += self._hosts(hosts)
        return [*words, *shlex.split(arguments), *program]

    def _hosts(self, hosts: dict[str, int]) -> list[str]:
        if self.kind == "srun":
            return ["--nodelist", ",".join(hosts), "--nodes", str(len(hosts))]
        option = "--host" if self.kind == "Open MPI" else "-hosts"
        return [option, ",".join(f"{host}:{slots}" for host, slots in hosts.items())]

    @property
    def environment(self) -> dict[str, str]:
        """Return what is set for the launcher, where the user has set nothing else."""
        return OPEN_MPI_ENVIRONMENT if self.kind == "Open MPI" else {}


def find_launcher(asked: str) -> Launcher:
    """Find the launcher: as asked for, else beside this Python, else on the PATH.

    Raises:
        ConfigError: there is none, or it does not run.
    """
    if asked:
        path = shutil.which(asked)
    else:
        beside = Path(sys.executable).absolute().with_name("mpirun")
        path = str(beside) if beside.exists() else shutil.which("mpirun") or shutil.which("mpiexec")
    if path is None:
        raise ConfigError(
            f"there is no launcher {asked or 'mpirun'}; pip install "
            '"ppo_mpi[mpich]", load your cluster\'s MPI module, or name one with --launcher'
        )
    return Launcher(path, _kind(path))


def _kind(path: str) -> Kind:
    if Path(path).name == "srun":
        return "srun"
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"the launcher {path} does not run: {error}") from error
    told = done.stdout + done.stderr
    if any(name in told for name in ("Open MPI", "OpenRTE", "PRTE", "prterun")):
        return "Open MPI"
    return "MPICH" if "HYDRA" in told or "MPICH" in told else "other"


def parse_hosts(text: str) -> dict[str, int]:
    """Return host -> slots of ``a:4,b:4``; ``a`` alone has one.

    Raises:
        ConfigError: it is not of that form.
    """
    hosts: dict[str, int] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, slots = word.partition(":")
        if not name or (slots and not (slots.isdecimal() and int(slots))) or name in hosts:
            raise ConfigError(f"hosts={text!r} is not HOST:RANKS,...; use for example a:4,b:4")
        hosts[name] = int(slots or 1)
    return hosts


def dealt(ranks: int, hosts: dict[str, int]) -> dict[str, int]:
    """Return how many of the ranks each host gets, in the order of the hosts."""
    left, shares = ranks, {}
    for host, slots in hosts.items():
        share = min(slots, left)
        if share:
            shares[host] = share
        left -= share
    return shares


def patient(program: Sequence[str]) -> list[str]:
    """Return the command in which a signal does nothing until the program has handlers for it.

    What is ignored stays ignored when a program takes a process over; launchers do not hand that on
    from their own process to the ranks.
    """
    return ["sh", "-c", 'trap "" USR1 USR2 TERM INT; exec "$@"', "rank", *program]


def number_of_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
