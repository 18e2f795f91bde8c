"""Carries a search out: checks all of it, runs what is not done, and tells what came of it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ppo_mpi.distributed.signals import EXIT_STOPPED
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.experiments.runner import say
from ppo_mpi.experiments.slurm import array_script, submit
from ppo_mpi.settings.sweep import SweepConfig
from ppo_mpi.storage.durable import explained, write_atomically
from ppo_mpi.sweeps.figures import draw
from ppo_mpi.sweeps.rounds import carry_out
from ppo_mpi.sweeps.running import Crew, ToldToStopError, begin_anew, forgive
from ppo_mpi.sweeps.search_file import Search, read_search
from ppo_mpi.sweeps.study import Study, importance, study_note
from ppo_mpi.sweeps.table import print_table, ranked, row_of, write_tables
from ppo_mpi.sweeps.trials import BOOKS, Books, Trial, plan_trials, refuse_changed


def sweep_command(config: SweepConfig) -> int:
    """Carry a search out, or show what it would do.

    Args:
        config: which, and what of it.

    Returns:
        the exit status: 0 done; 75 told to stop (the same line goes on); 1 a trial failed.

    Raises:
        ConfigError: something in the file cannot be, or runs are there with other settings.
    """
    search = read_search(config.file)
    label = config.label or Path(config.file).stem
    folder = Path(config.checkpoint_dir) / label
    books = Books(folder)
    study = Study(search, folder) if search.method == "optuna" else None
    if study is not None:
        check_study(config, study)
    trials = study.known() if study else plan_trials(search, folder)
    runs = [run for trial in trials for run in trial.runs]
    if not (config.clobber or config.table_only):
        refuse_changed(runs, books)
    if config.slurm:
        return hand_to_slurm(config, search, label, runs, books)
    if config.dry_run:
        show(search, trials, books)
        return 0
    crew = Crew(search, books, config.parallel or search.parallel)
    crew.take_signals()
    try:
        if config.table_only:
            crew.advance([(run, run.timesteps) for run in runs], trains=False)
        else:
            with alone(folder):
                prepare(config, runs, books, study)
                if study:
                    study.carry_out(crew, books)
                else:
                    carry_out(search, trials, crew, books)
    except ToldToStopError:
        say(f"stopped; the same line goes on, and `sweep {config.file} --table-only` shows what "
            "is there")  # fmt: skip
        return EXIT_STOPPED
    return conclude(config, search, study.known() if study else trials, label)


def check_study(config: SweepConfig, study: Study) -> None:
    """Refuse what a search by Optuna cannot do, or what does not fit the one that was begun."""
    if config.slurm:
        raise ConfigError(
            "slurm=true is not for method: optuna, which suggests a trial after the earlier ones "
            "have ended: give sweep itself a job, or use method: random"
        )
    if config.retry_failed:
        raise ConfigError(
            "retry_failed=true is not for method: optuna, whose study has learned from the "
            "failure; raise trials in the file"
        )
    if study.is_changed() and not (config.clobber or config.table_only):
        raise ConfigError(
            f"{study.path} was begun for another search: settings, parameters, seeds or metric of "
            f"{config.file} have changed; use another --label, or --clobber to forget it"
        )
    if study.is_changed() and config.clobber:
        study.delete()
    study.check()


def prepare(
    config: SweepConfig, runs: Sequence[PlannedRun], books: Books, study: Study | None
) -> None:
    """Clear away what the user has said may go."""
    if config.clobber:
        begin_anew(runs, books, lambda run: bool(books.changes(run)))
    if config.retry_failed:
        forgive(runs, books)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second search out of the same folder.

    Raises:
        ConfigError: another process is at it.
    """
    books = folder / BOOKS
    with explained("make the folder of the search", folder):
        books.mkdir(parents=True, exist_ok=True)
        lock = (books / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"another process carries out the search in {folder}; wait for it, or use "
                "--table-only to see how far it is"
            ) from None
        yield


def conclude(config: SweepConfig, search: Search, trials: Sequence[Trial], label: str) -> int:
    """Print and write what came of the trials; return 1 if one failed, else 0."""
    books = Books(Path(config.checkpoint_dir) / label)
    rows = ranked(search, [row_of(search, trial, books) for trial in trials])
    finished = [(row.trial, row.estimate.value) for row in rows if row.rank]
    shares = importance(search, finished)
    folder = Path(config.asset_dir) / label
    written = write_tables(search, rows, shares, folder, label)
    try:
        written += draw(search, rows, shares, folder, label)
    except MissingPackageError as error:
        say(str(error))
    print_table(search, rows)
    for path in written:
        print(f"wrote {path}")
    failed = [row for row in rows if row.status in ("failed", "unmeasured")]
    for row in failed:
        say(f"trial {row.trial.number} ({row.trial.shown()}) {row.status} {row.reason}")
    if any(row.status == "failed" for row in failed) and search.method != "optuna":
        say("--retry-failed tries what failed again")
    return 1 if failed else 0


def show(search: Search, trials: Sequence[Trial], books: Books) -> None:
    """Print the trials, how they are, and what is left to do."""
    left = total = 0
    for trial in trials:
        statuses = [books.status(run) for run in trial.runs]
        told = ", ".join(
            f"seed {run.seed} {status}" for run, status in zip(trial.runs, statuses, strict=True)
        )
        print(f"trial {trial.number}: {trial.shown()} ({told or 'refused'})")
        total += sum(run.timesteps for run in trial.runs)
        left += sum(
            max(0, run.timesteps - run.timesteps_done())
            for run, status in zip(trial.runs, statuses, strict=True)
            if status in ("begun", "new")
        )
    if search.method == "optuna" and (note := study_note(search, trials)):
        print(note)
    runs = sum(len(trial.runs) for trial in trials)
    bound = " at most" if search.stop else ""
    print(f"\n{len(trials)} trials, {runs} runs, {total:,} timesteps; {left:,} are left{bound}")
    print(f"measured: {search.metric.label}, to {search.goal}; {search.parallel} runs at a time of "
          f"{search.ranks} ranks")  # fmt: skip


def hand_to_slurm(
    config: SweepConfig, search: Search, label: str, runs: Sequence[PlannedRun], books: Books
) -> int:
    """Write the unfinished runs as an array, one task each, and submit it if that is wanted.

    Raises:
        ConfigError: the search stops trials early, or Slurm is not there.
    """
    if search.stop:
        raise ConfigError(
            "slurm=true is not for a search with stop:, whose trials have to be compared while "
            "they run: give sweep itself a job, or leave stop: out"
        )
    left = [run for run in runs if config.retry_failed or books.status(run) != "failed"]
    left = [run for run in left if run.status() != "finished"]
    if not left:
        print(f"all runs are finished; `sweep {config.file} --table-only` makes the table")
        return 0
    script = array_script(label, search.ranks, left, "sweep")
    if config.dry_run:
        print(script, end="")
        return 0
    prepare(config, runs, books, None)
    for run in left:
        books.write(run)
    path = books.folder / "runs.slurm"
    with explained("write the script", books.folder):
        write_atomically(path, script.encode())
    print(f"wrote {path}: {len(left)} of {len(runs)} runs")
    if config.submit:
        print(f"submitted as job {submit(path, config.slurm_args)}")
    else:
        print(f"to submit it: sbatch {path}, from the folder that holds launch/; or add --submit")
    print(f"when it is done: sweep {config.file} --table-only")
    return 0
