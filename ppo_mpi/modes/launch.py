"""launch: a supervisor above mpirun. Saves on signals, starts again after failures, gives up."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.launchers import (
    Launcher,
    dealt,
    find_launcher,
    number_of_cores,
    parse_hosts,
    patient,
)
from ppo_mpi.distributed.leftovers import clean_leftovers
from ppo_mpi.distributed.records import forget_records, records_of
from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.distributed.supervisor import Failure, Supervisor, answering, what_failed
from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import LaunchConfig
from ppo_mpi.modes.opening import run_dir_of
from ppo_mpi.storage.run_folder import DONE, checkpoints_of, is_done

BAD_INPUT = 2
LONGEST_DELAY_SECONDS = 60.0


@dataclass(frozen=True)
class Job:
    """What is launched, again and again until it is done."""

    words: list[str]
    """Behind ``python -m ppo_mpi``."""
    config: TrainConfig
    launcher: Launcher
    hosts: dict[str, int]

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        run_dir: Path = run_dir_of(self.config)
        return run_dir

    def progress(self) -> str:
        """Return the name of the newest checkpoint; empty without one."""
        checkpoints = checkpoints_of(self.run_dir)
        return checkpoints[0].name if checkpoints else ""

    def start(self) -> str:
        """Say where another start goes on from."""
        return f"from {self.progress() or 'the beginning'}"


def launch_command(config: LaunchConfig, words: list[str], train_config: TrainConfig) -> int:
    """Run ``train`` on several ranks until it is done, told to stop, or hopeless.

    Args:
        config: how to launch.
        words: behind ``--``: train and its words, which have been checked.
        train_config: what they mean.

    Returns:
        the exit status: 0 done, 75 told to stop, else that of the last failure.

    Raises:
        ConfigError: the launcher or the hosts cannot be used.
    """
    job = Job(words, train_config, find_launcher(config.launcher), parse_hosts(config.hosts))
    supervisor = Supervisor(config.grace_seconds)
    if config.dry_run:
        command, environment, _ = prepare(job, config)
        shown = [f"{name}={value}" for name, value in environment.items()]
        print(shlex.join([*shown, *command]))
        return 0
    supervisor.take_signals()
    return supervise(job, config, supervisor)


def supervise(job: Job, config: LaunchConfig, supervisor: Supervisor) -> int:
    """Start the job, and again after each failure that another start may mend."""
    last: Failure | None = None
    words, run_dir = job.words, job.run_dir
    restarts, delay = 0, config.restart_delay
    while True:
        clean_leftovers()
        command, environment, ranks = prepare(job, config)
        forget_records(run_dir, ranks)
        before, done_before, began = job.progress(), done_mark(run_dir), time.monotonic()

        def is_done_now(earlier: float | None = done_before) -> bool:
            # That of a training that is to go on, or to be done again, is still there at first.
            return done_mark(run_dir) not in (None, earlier)

        life = supervisor.run(command, environment, is_done_now)
        if life.status == BAD_INPUT:
            return BAD_INPUT
        # A status of 0 is not enough: Open MPI's launcher leaves so when a host is lost.
        max_seconds = job.config.job.max_seconds
        out_of_time = 0 < max_seconds <= time.monotonic() - began
        if is_done_now() or (life.status == 0 and (is_done(run_dir) or out_of_time)):
            return 0
        if life.stopped or life.status == EXIT_STOPPED:
            if life.status != EXIT_STOPPED:
                say(f"the job did not leave in time and was ended; it goes on {job.start()}")
            return EXIT_STOPPED
        failure = what_failed(records_of(run_dir), ranks, life.status)
        progressed = job.progress() != before
        if progressed:
            restarts, delay, last = 0, config.restart_delay, None
        reason = hopeless(failure, last, restarts, config)
        if reason:
            say(f"{failure.text}\ngiving up: {reason}; {run_dir} is kept as it is")
            return exit_status(life.status)
        restarts, last = restarts + 1, failure
        job = replace(job, words=[*words, "--clobber=false"])  # what was begun is gone on with
        say(f"{failure.text}; starting again {job.start()} ({restarts} of {config.max_restarts})")
        supervisor.sleep(delay)
        if supervisor.told_to_stop:
            return EXIT_STOPPED
        delay = min(2 * delay, LONGEST_DELAY_SECONDS)


def done_mark(run_dir: Path) -> float | None:
    """Return when a run was marked as done; None if it is not."""
    try:
        return (run_dir / DONE).stat().st_mtime_ns
    except OSError:
        return None


def exit_status(status: int) -> int:
    """Return the status of a failure, as shells tell of signals; never 0."""
    return status if status > 0 else 128 - status if status < 0 else 1


def hopeless(failure: Failure, last: Failure | None, restarts: int, config: LaunchConfig) -> str:
    """Return why another start would not help; empty if it may.

    Args:
        failure: of the life that has just ended.
        last: the one before it, if no checkpoint was saved since.
        restarts: how often the job was started again since its last checkpoint.
        config: how often it may be.
    """
    if failure.is_like(last):
        return "it failed twice at the same place in the same way"
    if not config.max_restarts:
        return "max_restarts=0; the same line goes on"
    if restarts >= config.max_restarts:
        return f"{restarts} restart(s) brought no further checkpoint (max_restarts)"
    return ""


def prepare(job: Job, config: LaunchConfig) -> tuple[list[str], dict[str, str], int]:
    """Return the command for the hosts that are left, its environment, and its number of ranks.

    Raises:
        ConfigError: too few hosts are left.
    """
    num_envs = job.config.environment.num_envs
    hosts = job.hosts
    if hosts:
        hosts = answering(hosts, lambda host: answers(host, config.host_check))
        gone = sorted(job.hosts.keys() - hosts.keys())
        if gone:
            say(f"without {', '.join(gone)}: no answer")
    slots = sum(hosts.values()) if job.hosts else config.ranks or number_of_cores()
    ranks = min(config.ranks or slots, slots, num_envs)
    if ranks < max(1, config.min_ranks):
        raise ConfigError(
            f"{ranks} rank(s) are left, fewer than min_ranks={config.min_ranks}; mend the hosts, "
            "or use a smaller --min-ranks"
        )
    shrinks = job.config.job.on_failure == "shrink"
    program = patient([sys.executable, "-m", "ppo_mpi", *job.words])
    command = job.launcher.command(
        ranks, dealt(ranks, hosts), config.launcher_args, shrinks, program
    )
    environment = {k: v for k, v in job.launcher.environment.items() if k not in os.environ}
    if ranks > number_of_cores() and not hosts:
        environment.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    return command, environment, ranks


def answers(host: str, check: str) -> bool:
    """Return whether a host answers to the check, a command with {host} in it."""
    words = [word.replace("{host}", host) for word in shlex.split(check)]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def say(text: str) -> None:
    """Tell the user, beside what the ranks print."""
    print(f"ppo_mpi: launch: {text}", file=sys.stderr, flush=True)
