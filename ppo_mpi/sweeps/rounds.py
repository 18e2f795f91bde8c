"""Takes the trials of a grid or of a random search to their end, or to where they are stopped.

What is decided depends on values at fixed places of the runs' curves, never on which run was
faster: a search that was interrupted, or that has more runs at a time, decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppo_mpi.experiments.runner import say
from ppo_mpi.sweeps.metrics import value_at
from ppo_mpi.sweeps.running import Crew
from ppo_mpi.sweeps.search_file import Search
from ppo_mpi.sweeps.stopping import is_below_median, place, survivors
from ppo_mpi.sweeps.trials import Books, Trial


def carry_out(search: Search, trials: Sequence[Trial], crew: Crew, books: Books) -> None:
    """Train and evaluate trials as the search's file says.

    Raises:
        ToldToStopError: a signal came.
    """
    if search.stop is None:
        to_the_end(trials, crew)
    elif search.stop.rule == "halving":
        halve(search, trials, crew, books)
    else:
        compare_with_median(search, trials, crew, books)


def to_the_end(trials: Sequence[Trial], crew: Crew) -> None:
    """Train and evaluate all runs of some trials."""
    crew.advance([(run, run.timesteps) for trial in trials for run in trial.runs])


def to_place(trials: Sequence[Trial], share: float, crew: Crew) -> None:
    """Train all runs of some trials up to a share of their timesteps."""
    crew.advance([(run, place(run.config, share)) for trial in trials for run in trial.runs])


def halve(search: Search, trials: Sequence[Trial], crew: Crew, books: Books) -> None:
    """Let at each place the better trials go on; those of which a run failed do not."""
    assert search.stop is not None, "the search stops trials"
    alive = list(trials)
    for share in search.stop.at:
        to_place(alive, share, crew)
        alive = [trial for trial in alive if not has_failed(trial, books)]
        values = {t.number: mean_at(t, share, search.stop.column) for t in alive}
        if not values:
            return
        kept = survivors(values, search.stop.factor, search.maximizes)
        for trial in alive:
            if trial.number not in kept:
                stop_trial(trial, share, values[trial.number], books)
        alive = [trial for trial in alive if trial.number in kept]
    to_the_end(alive, crew)


def compare_with_median(search: Search, trials: Sequence[Trial], crew: Crew, books: Books) -> None:
    """Take one trial after the other as far as it is not worse than half of the earlier ones."""
    stop = search.stop
    assert stop is not None, "the search stops trials"
    earlier: dict[float, list[float | None]] = {share: [] for share in stop.at}
    for trial in trials:
        for share in stop.at:
            to_place([trial], share, crew)
            if has_failed(trial, books):
                break
            value = mean_at(trial, share, stop.column)
            is_worse = is_below_median(value, earlier[share], stop.first, search.maximizes)
            earlier[share].append(value)
            if is_worse:
                stop_trial(trial, share, value, books)
                break
        else:
            to_the_end([trial], crew)


def mean_at(trial: Trial, share: float, column: str) -> float | None:
    """Return the mean over a trial's runs of a column's value at a place; None if one has none."""
    values = [value_at(run.folder, column, place(run.config, share)) for run in trial.runs]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def has_failed(trial: Trial, books: Books) -> bool:
    """Return whether one of a trial's runs failed."""
    return any(books.status(run) == "failed" for run in trial.runs)


def stop_trial(trial: Trial, share: float, value: float | None, books: Books) -> None:
    """Write down that a trial does not go on; its checkpoints stay."""
    shown = "no value" if value is None else f"{value:.6g}"
    say(f"trial {trial.number} ({trial.shown()}) ends at {share:g} of its timesteps, with {shown}")
    for run in trial.runs:
        if run.status() != "finished":
            books.write(run, stopped_at=place(run.config, share), value=value)
