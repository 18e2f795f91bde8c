"""Trains for a long time under faults that come at random: ``python tests/faults/soak.py``.

A job runs under the supervisor, and about every minute something happens to it: a rank, the
launcher or the supervisor is killed, stopped or told to leave, the disk is full, a checkpoint is
damaged. After each fault the job has to go on from its last checkpoint and to have left nothing
behind; at the end each run has to be the undisturbed one, to the bit. Prints a line for each fault
and a table, and leaves with 0 or 1.

As root, the runs lie in a small file system in memory, so that it can be filled.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[depth]) for depth in (1, 2)]

from runs import ITERATION, JOBS
from soak_compare import compare
from soak_faults import DISK_FULL, FAULTS, SECONDS_TO_END, TooLateError, fill_the_disk
from soak_job import HANG_TIMEOUT_SECONDS, SoakJob
from soak_summary import Event, Record, Sample, all_problems, summary
from wheels import WHEELS

from ppo_mpi.errors import CheckpointError
from ppo_mpi.storage.checkpoint import load_checkpoint
from ppo_mpi.storage.run_folder import (
    PROGRESS,
    UNREADABLE,
    checkpoints_of,
    newest_saved,
    remove_folder,
)

GAMES = {
    "CartPole": JOBS["CartPole"],
    "starpilot": [*JOBS["starpilot"], "--network", "nature", "--channel-multiplier", "0.25"],
}
"""They take turns, each with a seed of its own, so that one undisturbed run each is enough."""
SECONDS_TO_MEASURE = 12.0
SECONDS_OF_A_RUN = (25.0, 240.0)
SECONDS_BETWEEN_CHECKPOINTS = 3.0
SAMPLE_SECONDS = 2.0
DISK_MEGABYTES = 96
LOST_AT_MOST = 4.0
"""Iterations that a kill may cost, in times of those between two checkpoints."""


class Soak:
    """The jobs, one after the other, and what happens to them."""

    def __init__(self, options: argparse.Namespace, folder: Path, can_fill: bool) -> None:
        self.options, self.folder = options, folder
        self.draw = random.Random(options.seed)
        self.record = Record()
        self.began = time.monotonic()
        self.faults = dict(FAULTS) | ({DISK_FULL: fill_the_disk} if can_fill else {})
        self.bag: list[str] = []
        self.speeds: dict[str, float] = {}
        """Iterations per second, by game."""
        self.jobs: list[SoakJob] = []
        self.log_file = (folder / "soak.log").open("w", buffering=1)

    @property
    def job(self) -> SoakJob:
        """The one that runs."""
        return self.jobs[-1]

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """Print a line and keep it."""
        print(text, flush=True)
        self.log_file.write(text + "\n")

    def measure(self) -> None:
        """Find out how fast the games train here."""
        for game in GAMES:
            words = [*GAMES[game], "--max-seconds", str(SECONDS_TO_MEASURE)]
            job = SoakJob(self.folder, self.options.wheel, game, words, f"speed-{game}")
            job.start()
            try:
                status = job.wait_for_end(20 * SECONDS_TO_MEASURE)
            finally:
                job.end()
            assert status == 0, f"{game} does not train (status {status}):\n{job.said()[-3000:]}"
            with (job.run_dir / PROGRESS).open() as file:
                last = list(csv.DictReader(file))[-1]
            self.speeds[game] = float(last["iteration"]) / float(last["wall_seconds"])
            remove_folder(job.run_dir)

    def start_next_run(self, seconds_left: float) -> None:
        """Start a run that lasts a fifth of the whole, or what is left."""
        low, high = SECONDS_OF_A_RUN
        seconds = max(low, min(high, self.options.minutes * 60 / 5, seconds_left + low))
        number = len(self.jobs)
        turn = number % len(GAMES)
        game, seed = list(GAMES)[turn], self.options.seed + turn
        # As long as the first of its kind: one undisturbed run serves all.
        alike = [job for job in self.jobs if job.game == game]
        iterations = int(seconds * self.speeds[game]) + 10
        words = alike[0].words if alike else [
            *GAMES[game], "--seed", str(seed), "--total-timesteps", str(iterations * ITERATION),
            "--checkpoint-every", str(self.between_checkpoints(game)), "--keep-checkpoints", "3",
        ]  # fmt: skip
        job = SoakJob(self.folder, self.options.wheel, game, words, f"run-{number}-{game}")
        self.jobs.append(job)
        job.start()
        self.say(f"{self.now():7.1f} s  {job.run_dir.name} begins: {' '.join(words)}")
        if not job.wait_until_training(set()):
            self.problem(f"{job.run_dir.name} does not begin:\n{job.said()[-3000:]}")

    def between_checkpoints(self, game: str) -> int:
        """Return the iterations between two checkpoints."""
        return max(1, round(self.speeds[game] * SECONDS_BETWEEN_CHECKPOINTS))

    def problem(self, text: str) -> None:
        """Remember what no fault explains."""
        self.record.problems.append(f"{self.now():.0f} s: {text}")
        self.say(f"{self.now():7.1f} s  PROBLEM  {text}")

    def watch(self, until: float) -> None:
        """Let the job train, and the next one after it; take samples."""
        end = self.began + self.options.minutes * 60
        while time.monotonic() < until:
            if self.job.done:
                self.say(f"{self.now():7.1f} s  {self.job.run_dir.name} is finished")
                self.start_next_run(end - time.monotonic())
            elif self.job.status is not None:
                self.problem(
                    f"the supervisor left with {self.job.status}:\n{self.job.said()[-3000:]}"
                )
                self.job.start()
                self.job.wait_until_training(set())
            self.sample()
            time.sleep(max(0.0, min(SAMPLE_SECONDS, until - time.monotonic())))

    def sample(self) -> None:
        """Note what the job takes now."""
        job, pids = self.job, self.job.ranks()
        left = job.left_in_shared_memory()
        if not pids or job.supervisor is None:
            return
        memory, own = job.memory_mib(pids[0]), job.memory_mib(job.supervisor.pid)
        if memory is not None and own is not None:
            self.record.samples.append(
                Sample(
                    self.now(),
                    job.game,
                    memory,
                    own,
                    job.number_of_files(),
                    len(left),
                    job.temporary_files(),
                )
            )

    def next_kind(self) -> str:
        """Return the next kind of fault; each comes once before one comes again."""
        if not self.bag:
            self.bag = sorted(self.faults)
            self.draw.shuffle(self.bag)
        return self.bag[-1]

    def harm(self) -> None:
        """Let one fault happen, wait until the job trains again, and look at what is left."""
        job, kind = self.job, self.next_kind()
        self.sample()
        before, alive = job.iteration(), set(job.processes())
        ranks, committed = set(job.ranks()), newest_saved(job.run_dir)
        moment = time.monotonic()
        try:
            aftermath = self.faults[kind](job, self.draw)
        except TooLateError:
            return
        self.bag.pop()
        problems = [aftermath.problem] if aftermath.problem else []
        lost = 0
        if aftermath.ends != "nothing":
            if aftermath.ends == "job":
                status = job.wait_for_end(SECONDS_TO_END)
                if status not in aftermath.statuses and not job.done:
                    problems.append(f"the supervisor left with {status}:\n{job.said()[-2000:]}")
                    job.end()
            else:
                assert job.supervisor is not None, "it was started"
                alive -= {job.supervisor.pid}
            left = job.wait_until_gone(alive, HANG_TIMEOUT_SECONDS + SECONDS_TO_END)
            problems += [f"processes {sorted(left)} are still there"] if left else []
            found, lost = self.look_at_checkpoints(committed, before, aftermath.checkpoints_lost)
            problems += found
            if aftermath.saves and lost:
                problems.append(f"{lost} iterations were not saved")
            if aftermath.ends == "job" and not job.done:
                job.start()
        if not job.wait_until_training(set() if aftermath.ends == "nothing" else ranks):
            problems.append(f"it does not go on:\n{job.said()[-3000:]}")
        seconds = time.monotonic() - moment
        if aftermath.ends == "nothing" and not job.done and set(job.ranks()) != ranks:
            problems.append("there was an alarm for nothing")
        if aftermath.checkpoints_lost:
            problems += self.clear_damaged()
        orphans = job.orphans_that_stay()
        problems += [f"processes {sorted(orphans)} belong to nobody"] if orphans else []
        since = moment - self.began
        event = Event(since, kind, aftermath.what, seconds, lost, tuple(problems))
        self.record.events.append(event)
        self.say(event.line())

    def look_at_checkpoints(
        self, committed: str, before: int, damaged: int
    ) -> tuple[list[str], int]:
        """Look for a whole checkpoint, right after the end of a life.

        Args:
            committed: name of the one that was saved last before the fault.
            before: the iteration that was then in flight.
            damaged: how many of the newest ones the fault itself has damaged.

        Returns:
            what is wrong, and how many iterations were lost.
        """
        paths = checkpoints_of(self.job.run_dir)
        if len(paths) <= damaged:
            return [f"there is no checkpoint but {[path.name for path in paths]}"], before
        try:
            checkpoint = load_checkpoint(paths[damaged])
        except CheckpointError as error:
            return [str(error)], before
        problems = []
        if not damaged and paths[0].name < committed:
            problems.append(f"{committed} was committed, and {paths[0].name} is the newest")
        lost = max(0, before - 1 - int(checkpoint.state["iteration"]))
        if lost > LOST_AT_MOST * self.between_checkpoints(self.job.game):
            problems.append("so many iterations are more than those between two checkpoints")
        return problems, lost

    def clear_damaged(self) -> list[str]:
        """Remove what was set aside; return a problem if it was not."""
        aside = list(self.job.run_dir.glob(f"{UNREADABLE}*"))
        for path in aside:
            remove_folder(path)
        return [] if len(aside) == 1 else [f"{len(aside)} damaged checkpoints were set aside"]

    def run(self) -> None:
        """Train and do harm until the time is over; then let all end in good order."""
        self.measure()
        self.say(
            f"{self.now():7.1f} s  iterations per second: "
            + ", ".join(f"{game} {speed:.1f}" for game, speed in self.speeds.items())
        )
        self.began = time.monotonic()
        end = self.began + self.options.minutes * 60
        self.start_next_run(self.options.minutes * 60)
        at = time.monotonic()
        while at < end:
            at += self.draw.uniform(self.options.least_pause, self.options.longest_pause)
            self.watch(min(at, end))
            # The first checkpoints are waited for: a damaged one needs one before it.
            while len(checkpoints_of(self.job.run_dir)) < 2 and time.monotonic() < end:
                self.watch(time.monotonic() + 1)
            if time.monotonic() < end and self.job.ranks():
                self.harm()
            at = max(at, time.monotonic())
        self.job.end()
        left = self.job.orphans_that_stay()
        if left:
            self.problem(f"processes {sorted(left)} are left at the end")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Put the runs on a small file system in memory; yield whether that could be done."""
    runs = folder / "runs"
    runs.mkdir()
    size = f"size={DISK_MEGABYTES}m"
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", size, "soak", str(runs)], stderr=subprocess.DEVNULL
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.check_call(["umount", "--lazy", str(runs)])


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--wheel", choices=WHEELS, default="mpich")
    parser.add_argument("--seed", type=int, default=0, help="of faults and runs")
    parser.add_argument("--folder", type=Path, help="for runs and logs; empty or new")
    parser.add_argument("--least-pause", type=float, default=30.0, help="seconds between faults")
    parser.add_argument("--longest-pause", type=float, default=90.0)
    return parser.parse_args()


def main() -> int:
    """Soak, print the table, and return 0 if all was well."""
    options = parse_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    with small_disk(folder.absolute()) as can_fill:
        soak = Soak(options, folder.absolute(), can_fill)
        soak.say(f"soak: {vars(options)}; logs in {folder}; {'can' if can_fill else 'cannot'} "
                 "fill the disk")  # fmt: skip
        try:
            soak.run()
            soak.record.lives = sum(job.lives() for job in soak.jobs)
            compare(soak.jobs, soak.record, soak.folder, options.wheel, soak.say)
        except KeyboardInterrupt:
            soak.record.problems.append("it was interrupted")
        finally:
            for job in soak.jobs:
                job.end()
        soak.say(summary(soak.record))
        return 1 if all_problems(soak.record) else 0


if __name__ == "__main__":
    sys.exit(main())
