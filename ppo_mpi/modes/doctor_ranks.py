"""doctor under a launcher: did the ranks find each other, and can they work together?"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.machine import available_cores, threads_for_rank
from ppo_mpi.mode_config import DoctorConfig
from ppo_mpi.modes.doctor import Finding, nearest_folder, show

MESSAGES = 50


def doctor_on_ranks(config: DoctorConfig, comm: Communicator) -> int:
    """Check what several ranks need and print, on rank 0, a line for each finding. Collective.

    Args:
        config: names the folder of the runs.
        comm: the ranks, which have found each other or this would not be reached.

    Returns:
        the exit status, the same on every rank: 1 if something that is needed is broken.
    """
    findings = [
        check_ranks(comm),
        check_threads(comm),  # collective
        check_messages(comm),  # collective
        check_shared_folder(Path(config.checkpoint_dir), comm),  # collective
    ]
    return show(findings) if comm.is_root else int(any(f.level == "FAIL" for f in findings))


def check_ranks(comm: Communicator) -> Finding:
    """Tell how many ranks there are, and where."""
    counts = Counter(comm.hosts)
    where = ", ".join(f"{host}: {number}" for host, number in counts.items())
    text = f"{comm.world_size} ranks on {len(counts)} host(s) found each other ({where})"
    if comm.world_size == 1:
        text += "; start more with mpirun -np N or srun -n N"
    return Finding("OK", "ranks", f"{text}; {comm.library}")


def check_threads(comm: Communicator) -> Finding:
    """Check that the threads of a host's ranks are no more than its cores. Collective."""
    own = threads_for_rank(comm.node_affinities, comm.local_rank)
    threads = comm.gather_all((comm.hosts[comm.rank], own, len(available_cores())))  # collective
    cores = {host: max(c for h, _, c in threads if h == host) for host, _, _ in threads}
    used = {host: sum(t for h, t, _ in threads if h == host) for host in cores}
    shown = ", ".join(f"{host}: {used[host]} for {cores[host]} core(s)" for host in cores)
    crowded = [host for host in cores if comm.hosts.count(host) > cores[host]]
    if crowded:
        return Finding("WARN", "threads", f"{shown}; more ranks than cores take turns: use fewer")
    return Finding("OK", "threads", shown)


def check_messages(comm: Communicator) -> Finding:
    """Check that a sum over the ranks is right, and tell how long one takes. Collective."""
    total = comm.sum(np.array([comm.rank]))[0]  # collective
    began = time.monotonic()
    for _ in range(MESSAGES):
        comm.sum(np.zeros(1))  # collective
    microseconds = (time.monotonic() - began) / MESSAGES * 1e6
    if total != comm.world_size * (comm.world_size - 1) // 2:
        return Finding("FAIL", "messages", f"the sum of all ranks is {total}: the MPI is broken")
    return Finding("OK", "messages", f"a sum over the ranks takes {microseconds:.0f} us")


def check_shared_folder(folder: Path, comm: Communicator) -> Finding:
    """Check that all hosts see the folder of the runs as rank 0 does. Collective."""
    place = comm.broadcast_object(nearest_folder(folder))  # collective
    probe = place / f".doctor-{comm.broadcast_object(os.getpid())}"  # collective
    problem = ""
    if comm.is_root:
        try:
            probe.write_bytes(b"")
        except OSError as error:
            problem = f"cannot write {place} ({error.strerror}); use --checkpoint-dir"
    comm.barrier()  # collective
    seen = comm.gather_all((comm.hosts[comm.rank], probe.exists()))  # collective
    if comm.is_root:
        probe.unlink(missing_ok=True)
    problem = comm.broadcast_object(problem)  # collective
    blind = sorted({host for host, exists in seen if not exists})
    if problem:
        return Finding("FAIL", "checkpoints", problem)
    if blind:
        return Finding(
            "WARN",
            "checkpoints",
            f"{', '.join(blind)} do not see {place}: their ranks' logs and heartbeats stay there, "
            "and a hang is noticed later; use a folder that all hosts share",
        )
    return Finding("OK", "checkpoints", f"all hosts see {place}")
