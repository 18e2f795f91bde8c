"""Trains and evaluates a search's runs, several at a time, each a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from ppo_mpi.distributed.launchers import number_of_cores
from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.distributed.supervisor import Supervisor
from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.experiments.runner import GRACE_SECONDS, evaluate, say, training
from ppo_mpi.storage.durable import explained
from ppo_mpi.sweeps.metrics import require_column, timesteps_reached
from ppo_mpi.sweeps.search_file import Search
from ppo_mpi.sweeps.trials import Books

SECONDS_BETWEEN_LOOKS = 0.2
LAST_WORDS = 300
"""Characters of a failed run's last line that are kept."""


class ToldToStopError(Exception):
    """A signal came: what runs has saved, and nothing more is begun."""


class Crew:
    """Takes runs as far as it is asked to. What one run does is never the end of the others."""

    def __init__(self, search: Search, books: Books, parallel: int) -> None:
        """Start nothing yet.

        Args:
            search: says how many ranks a run has, and what is measured.
            books: in which failures are written down.
            parallel: runs at a time.
        """
        self._search, self._books, self.parallel = search, books, parallel
        self._first = Supervisor(GRACE_SECONDS)
        self._threads: list[str] = []
        if parallel > 1 and "threads" not in search.fixed:
            # Each run would otherwise take all cores for itself.
            cores = max(1, number_of_cores() // (parallel * search.ranks))
            self._threads = ["--threads", str(cores)]

    def take_signals(self) -> None:
        """Let a signal to this process end all runs in good order."""
        self._first.take_signals()

    def advance(self, runs: Sequence[tuple[PlannedRun, int]], trains: bool = True) -> None:
        """Take each run at least so many timesteps far; evaluate those that are finished.

        Args:
            runs: a run, and timesteps (at most its own).
            trains: whether unfinished runs are trained at all.

        Raises:
            ToldToStopError: a signal came.
            ConfigError: no run can bring the number that is asked for.
        """
        left = [(run, until) for run, until in runs if self._is_open(run, until, trains)]
        if self._first.told_to_stop:
            raise ToldToStopError
        with ThreadPoolExecutor(self.parallel) as pool:
            # Threads only wait; signals come to this one, which therefore must not.
            pending: set[Future[None]] = {
                pool.submit(
                    self._take, run, until, trains, f"{k} of {len(left)}: {run.folder.name}"
                )
                for k, (run, until) in enumerate(left, start=1)
            }
            try:
                while pending:
                    done, pending = wait(pending, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                    for future in done:
                        future.result()
            except BaseException:
                for future in pending:
                    future.cancel()
                self._first.stop()
                raise
        if self._first.told_to_stop:
            raise ToldToStopError

    def _is_open(self, run: PlannedRun, until: int, trains: bool) -> bool:
        status = self._books.status(run)
        if status == "failed":
            return False
        if status == "finished":
            return bool(run.open_evaluations())
        return trains and (until >= run.timesteps or timesteps_reached(run.folder) < until)

    def _take(self, run: PlannedRun, until: int, trains: bool, name: str) -> None:
        supervisor = self._first.beside()
        if supervisor.told_to_stop:
            return
        if run.status() != "finished" and trains:
            self._books.write(run)
            if not self._train(run, until, supervisor, name):
                return
        if run.status() == "finished":
            self._evaluate(run, supervisor, name)

    def _train(self, run: PlannedRun, until: int, supervisor: Supervisor, name: str) -> bool:
        """Train a run; return whether it has come as far as it should."""
        column = self._search.stop.column if self._search.stop else self._search.metric.column

        def is_enough() -> bool:
            if column:
                require_column(run.folder, column)
            return until < run.timesteps and timesteps_reached(run.folder) >= until

        log = self._books.log(run)
        say(f"{name}, from {run.timesteps_done():,} to {until:,} timesteps")
        begin = log.stat().st_size if log.exists() else 0
        command = [*training(self._search.ranks, run), *self._threads]
        status = supervisor.run(command, {}, is_enough=is_enough, output=log).status
        if run.status() == "finished":
            if column:
                require_column(run.folder, column)
            return True
        if supervisor.told_to_stop:
            return False
        if status == EXIT_STOPPED and timesteps_reached(run.folder) >= until:
            return True
        self._fail(run, f"training left with {status}: {last_line(log, begin)}")
        return False

    def _evaluate(self, run: PlannedRun, supervisor: Supervisor, name: str) -> None:
        for evaluation in run.open_evaluations():
            log = self._books.log(run)
            begin = log.stat().st_size if log.exists() else 0
            status = evaluate(run, evaluation, supervisor, log)
            if status and not supervisor.told_to_stop:
                self._fail(run, f"evaluate left with {status}: {last_line(log, begin)}")
                return
        value = self._search.metric.of_run(run.folder)
        shown = "nothing" if value is None else f"{value:.6g}"
        say(f"{name}, {self._search.metric.label} {shown}")

    def _fail(self, run: PlannedRun, reason: str) -> None:
        self._books.write(run, failure=reason)
        say(f"{run.folder.name} failed: {reason} ({self._books.log(run)}); the others go on")


def last_line(log: Path, begin: int) -> str:
    """Return the last line that is not empty behind a place of a file."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").split("\n")
    words = [line.strip() for line in lines if line.strip()]
    return words[-1][:LAST_WORDS] if words else "it said nothing"


def begin_anew(
    runs: Iterable[PlannedRun], books: Books, is_chosen: Callable[[PlannedRun], bool]
) -> None:
    """Delete the folders of some runs, so that they are trained from their beginning."""
    for run in runs:
        if is_chosen(run) and run.folder.is_dir():
            with explained("delete a run that was begun with other settings", run.folder):
                shutil.rmtree(run.folder)
            books.write(run)


def forgive(runs: Iterable[PlannedRun], books: Books) -> None:
    """Forget that runs failed, so that they are tried again."""
    for run in runs:
        if books.status(run) == "failed":
            books.write(run)
