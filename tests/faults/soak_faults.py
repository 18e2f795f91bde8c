"""What soak.py does to a job: one function for each kind of fault."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from soak_job import HANG_TIMEOUT_SECONDS, SoakJob

from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.storage.run_folder import checkpoints_of

SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
FILLER = "filler"
SECONDS_TO_END = 60.0
"""For a job to save and leave, on a busy machine."""


@dataclass(frozen=True)
class Aftermath:
    """What a fault was, and what has to come of it."""

    what: str
    """For the log."""
    ends: Literal["nothing", "life", "job"]
    """nothing: the ranks go on; life: the supervisor starts them again; job: it leaves."""
    statuses: tuple[int, ...] = ()
    """Exit statuses with which the supervisor may leave."""
    saves: bool = False
    """Whether the iteration in flight must be in the newest checkpoint."""
    checkpoints_lost: int = 0
    """How many of the newest checkpoints the fault itself has damaged."""
    problem: str = ""
    """What went wrong already."""


Fault = Callable[[SoakJob, random.Random], Aftermath]


class TooLateError(Exception):
    """There is nothing left to harm: the run has just ended."""


def _signal_a_rank(job: SoakJob, draw: random.Random, number: int) -> tuple[int, int]:
    """Send a signal to one of the ranks; return its rank and process.

    Raises:
        TooLateError: there are no ranks.
    """
    pids = job.ranks()
    if not pids:
        raise TooLateError
    rank = draw.randrange(len(pids))
    _signal(pids[rank], number)
    return rank, pids[rank]


def _signal(pid: int | None, number: int) -> None:
    try:
        if pid is None:
            raise TooLateError
        os.kill(pid, number)
    except ProcessLookupError as error:
        raise TooLateError from error


def kill_a_rank(job: SoakJob, draw: random.Random) -> Aftermath:
    """One rank dies."""
    rank, _ = _signal_a_rank(job, draw, signal.SIGKILL)
    return Aftermath(f"SIGKILL to rank {rank}", "life")


def kill_the_launcher(job: SoakJob, draw: random.Random) -> Aftermath:
    """mpirun dies."""
    _signal(job.launcher(), signal.SIGKILL)
    return Aftermath("SIGKILL to mpirun", "life")


def signal_a_rank(job: SoakJob, draw: random.Random) -> Aftermath:
    """One rank is told to stop: all save and leave."""
    number = draw.choice(SIGNALS)
    rank, _ = _signal_a_rank(job, draw, number)
    return Aftermath(f"{number.name} to rank {rank}", "job", (EXIT_STOPPED,), saves=True)


def signal_the_supervisor(job: SoakJob, draw: random.Random) -> Aftermath:
    """The supervisor is told to stop."""
    assert job.supervisor is not None, "the job runs"
    number = draw.choice(SIGNALS)
    job.supervisor.send_signal(number)
    return Aftermath(f"{number.name} to the supervisor", "job", (EXIT_STOPPED,), saves=True)


def hang_a_rank(job: SoakJob, draw: random.Random) -> Aftermath:
    """One rank stands still for good: the others notice."""
    rank, _ = _signal_a_rank(job, draw, signal.SIGSTOP)
    return Aftermath(f"SIGSTOP to rank {rank}", "life")


def pause_a_rank(job: SoakJob, draw: random.Random) -> Aftermath:
    """One rank stands still for a while: no alarm."""
    seconds = draw.uniform(1, HANG_TIMEOUT_SECONDS / 3)
    rank, pid = _signal_a_rank(job, draw, signal.SIGSTOP)
    time.sleep(seconds)
    _signal(pid, signal.SIGCONT)
    return Aftermath(f"SIGSTOP to rank {rank}, SIGCONT after {seconds:.1f} s", "nothing")


def kill_the_supervisor(job: SoakJob, draw: random.Random) -> Aftermath:
    """The supervisor dies: the ranks save and leave by themselves."""
    assert job.supervisor is not None, "the job runs"
    job.supervisor.kill()
    return Aftermath("SIGKILL to the supervisor", "job", (-signal.SIGKILL,), saves=True)


def kill_everything(job: SoakJob, draw: random.Random) -> Aftermath:
    """All dies at once, as when the power fails."""
    # From the top, so that nobody is left to notice the others' death.
    for pid in sorted(job.processes()):
        with contextlib.suppress(TooLateError):
            _signal(pid, signal.SIGKILL)
    return Aftermath("SIGKILL to all processes", "job", (-signal.SIGKILL,))


def damage_the_newest_checkpoint(job: SoakJob, draw: random.Random) -> Aftermath:
    """A bit of the newest checkpoint flips while the job is down, or a file loses its end."""
    assert job.supervisor is not None, "the job runs"
    job.supervisor.send_signal(signal.SIGTERM)
    status = job.wait_for_end(SECONDS_TO_END)
    if status != EXIT_STOPPED:
        return Aftermath("SIGTERM to the supervisor", "job", (EXIT_STOPPED,), saves=True)
    path = checkpoints_of(job.run_dir)[0]
    file = draw.choice(sorted(path.glob("*.safetensors")))
    content = bytearray(file.read_bytes())
    if draw.random() < 0.5:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        how = "flipped a bit of"
    else:
        del content[draw.randrange(len(content)) :]
        how = "truncated"
    file.write_bytes(content)
    where = f"{path.name}/{file.name}"
    return Aftermath(f"{how} {where}", "job", (EXIT_STOPPED,), checkpoints_lost=1)


def fill_the_disk(job: SoakJob, draw: random.Random) -> Aftermath:
    """The file system of the run is full at the next save; there is room again afterwards."""
    filler = job.run_dir.parent / FILLER
    said = len(job.said())
    fill(filler)
    deadline = time.monotonic() + SECONDS_TO_END
    while "make room" not in job.said()[said:] and time.monotonic() < deadline:
        time.sleep(0.05)
    filler.unlink()
    told = job.said()[said:]
    problem = "" if "make room" in told else f"it did not say what to do: {told[-500:]!r}"
    return Aftermath("no space left on the device", "life", problem=problem)


def fill(path: Path) -> None:
    """Write zeros until there is no room left."""
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


FAULTS: dict[str, Fault] = {
    "kill a rank": kill_a_rank,
    "kill the launcher": kill_the_launcher,
    "signal a rank": signal_a_rank,
    "signal the supervisor": signal_the_supervisor,
    "hang a rank": hang_a_rank,
    "pause a rank": pause_a_rank,
    "kill the supervisor": kill_the_supervisor,
    "kill everything": kill_everything,
    "damage a checkpoint": damage_the_newest_checkpoint,
}
DISK_FULL = "fill the disk"
"""Only where the run's folder is a small file system of its own."""
