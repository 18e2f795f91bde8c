"""What the runs on goal misgeneralization have brought: episodes, rates, and how often they fail.

Axes: E episodes.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.experiments.benchmark_tables import amount
from ppo_mpi.experiments.coinrun_values import Values
from ppo_mpi.experiments.misgeneralization_pairs import PAIRS, Condition, Pair
from ppo_mpi.experiments.results import RunCurve, curves_by_group
from ppo_mpi.experiments.statistics import Estimate, mean_over_seeds, wilson_interval

ROLES = ("train", "test", "vanilla")
"""Evaluations of a run, by the names of their files."""
NOT_NUMBERS = ("run", "env", "split", "same_picture")
"""Columns of evaluate's table that are no numbers."""
FEW = 0.1
"""A level is good if the vanilla agent comes by the random place in less than this share of its
runs (as published)."""
OUTCOMES = ("level_complete", "timed_out", "died", "intended_goal", "proxy_goal", "randomized",
            "spot_reached")  # fmt: skip
"""Facts that are 0 or 1."""
INTENDED, OTHER = 1, 2
"""Values of the fact ``first``."""

Episodes = Mapping[str, np.ndarray]
"""Column -> [E] float64; NaN where an episode does not tell it."""


@dataclass(frozen=True)
class Rate:
    """How often something happened, over all runs of a condition."""

    successes: int
    episodes: int
    estimate: Estimate
    """Over the episodes, Wilson's interval."""
    over_runs: Estimate
    """The mean of the runs' rates, Student's interval."""


@dataclass(frozen=True)
class Failures:
    """How often the agents of one condition fail, and in which way."""

    levels: int | None
    """Good levels that count; None where all count."""
    objective: Rate | None
    """They were capable and went for something else, in the test environment."""
    iid: Rate | None
    """They missed the goal, in the environment that they were trained in."""


@dataclass(frozen=True)
class Results:
    """What there is of all conditions."""

    title: str
    conditions: Sequence[Condition]
    curves: Mapping[str, Mapping[str, Sequence[RunCurve]]]
    """train or test -> group -> the curves of its runs."""
    files: Mapping[tuple[str, str], Sequence[Path]]
    """(group, role) -> tables of its runs' episodes."""
    episodes: Mapping[tuple[str, str], Sequence[Episodes]]
    """(group, role) -> the episodes of each run."""
    values: Mapping[str, Sequence[Values]]
    """group -> values at places of coinrun, of each run."""

    @property
    def is_trained(self) -> bool:
        """Whether any run has come to a curve or to an evaluation."""
        return bool(self.curves["train"] or self.files)

    @property
    def sweep(self) -> str:
        """The setting that the sweep is over; empty without one."""
        return self.conditions[0].setting

    def played(self, condition: Condition, role: str) -> Sequence[Episodes]:
        """Return the episodes of each run; empty where none were played."""
        return self.episodes.get((condition.group, role), ())

    def vanilla(self, condition: Condition) -> Sequence[Episodes]:
        """Return the vanilla agents' repeated episodes, for a condition of the same sweep."""
        return [
            own
            for other in self.conditions
            if other.is_vanilla and other.pair == condition.pair
            for own in self.played(other, "vanilla")
        ]


def collect(
    title: str,
    conditions: Sequence[Condition],
    runs: Sequence[PlannedRun],
    values: Mapping[str, Sequence[Values]],
) -> Results:
    """Read what the runs have brought so far.

    Args:
        title: with ``{}`` for the timesteps of a run.
        conditions: all of them.
        runs: all of them.
        values: from ``measure_values``.
    """
    files: dict[tuple[str, str], list[Path]] = {}
    for run in runs:
        for role in ROLES:
            path = run.folder / f"{role}.csv"
            if path.is_file():
                files.setdefault((run.group, role), []).append(path)
    episodes = {key: [read_episodes(path) for path in paths] for key, paths in files.items()}
    curves = {split: curves_by_group(runs, split) for split in ("train", "test")}
    words = title.format(amount(runs[0].timesteps))
    done = sum(run.status() == "finished" for run in runs)
    if done < len(runs):
        words += f", {done} of {len(runs)} runs finished"
    return Results(words, conditions, curves, files, episodes, values)


def read_episodes(path: Path) -> Episodes:
    """Return the numbers of a table that evaluate wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.reader(file)
        names = next(table)
        rows = list(table)
    return {
        name: np.array([float(row[k]) if row[k] else np.nan for row in rows])
        for k, name in enumerate(names)
        if name not in NOT_NUMBERS
    }


def outcomes(episodes: Episodes) -> dict[str, np.ndarray]:
    """Return name -> [E] bool, what happened in each episode or not; only what is told of all.

    Args:
        episodes: of one run.
    """
    told = {name: own for name, own in episodes.items() if not np.isnan(own).any()}
    found = {name: told[name] > 0 for name in OUTCOMES if name in told}
    if "first" in told:
        found["intended_first"] = told["first"] == INTENDED
        found["proxy_first"] = told["first"] == OTHER
        found["neither_first"] = told["first"] == 0
    if "keys_after_useless" in told:
        found["useless_keys"] = told["keys_after_useless"] > 0
    return found


def rate(happened: Sequence[np.ndarray]) -> Rate | None:
    """Return how often something happened; None without episodes.

    Args:
        happened: for each run, [E] bool.
    """
    happened = [own for own in happened if len(own)]
    if not happened:
        return None
    successes, episodes = sum(int(own.sum()) for own in happened), sum(map(len, happened))
    per_run = np.array([own.mean() for own in happened])
    return Rate(successes, episodes, wilson_interval(successes, episodes), mean_over_seeds(per_run))


def rates(played: Sequence[Episodes]) -> dict[str, Rate]:
    """Return what happened how often, over all runs of a condition in one environment.

    Args:
        played: the episodes of each run.
    """
    by_run = [outcomes(own) for own in played]
    names = dict.fromkeys(name for own in by_run for name in own)
    found = {name: rate([own[name] for own in by_run if name in own]) for name in names}
    return {name: own for name, own in found.items() if own is not None}


def good_levels(vanilla: Sequence[Episodes]) -> np.ndarray | None:
    """Return [L] int64, the levels in which the random place does not lie on the agent's way.

    The runs of all vanilla agents count together.

    Args:
        vanilla: the repeated episodes of each vanilla agent.

    Returns:
        None without such episodes.
    """
    told = [own for own in vanilla if "spot_reached" in own and len(own["level"])]
    if not told:
        return None
    levels, places = np.unique(np.concatenate([own["level"] for own in told]), return_inverse=True)
    reached = np.concatenate([own["spot_reached"] for own in told])
    share = np.bincount(places, reached) / np.bincount(places)
    good: np.ndarray = levels[share < FEW].astype(np.int64)
    return good


def failures(
    pair: Pair, train: Sequence[Episodes], test: Sequence[Episodes], good: np.ndarray | None
) -> Failures:
    """Return how often agents miss the goal they were trained for, and go for another one.

    An objective robustness failure is an episode in the test environment in which the proxy came
    before the intended goal (of keys and chests: keys of no use were taken). An IID robustness
    failure is one in the training environment that did not reach the goal.

    Args:
        pair: the environments.
        train: in the environment trained in, the episodes of each run.
        test: in the other one, likewise.
        good: [L], the levels that count; None for all.
    """
    other, goal = ("proxy_first", "intended_goal") if pair.has_first else (
        "useless_keys", "level_complete"
    )  # fmt: skip
    wrong = [happened(own, other, good) for own in test]
    missed = [~happened(own, goal, good) for own in train]
    return Failures(None if good is None else len(good), rate(wrong), rate(missed))


def happened(episodes: Episodes, name: str, levels: np.ndarray | None) -> np.ndarray:
    """Return [E] bool, whether something happened in the episodes on these levels (None: all)."""
    told = outcomes(episodes).get(name)
    if told is None:
        return np.zeros(0, bool)
    counts: np.ndarray = told if levels is None else told[np.isin(episodes["level"], levels)]
    return counts


def past_the_spot(vanilla: Sequence[Episodes], good: np.ndarray) -> Rate | None:
    """Return how often vanilla agents reach the end without the random place: the grey line.

    Args:
        vanilla: the repeated episodes of each vanilla agent.
        good: [L], the levels that count.
    """
    found = []
    for own in vanilla:
        at_end = (own["intended_goal"] > 0) & (own["spot_reached"] == 0)
        found.append(at_end[np.isin(own["level"], good)])
    return rate(found)


def failures_of(results: Results, condition: Condition) -> Failures:
    """Return the failures of one condition, on good levels where there are vanilla agents."""
    good = good_levels(results.vanilla(condition))
    pair = PAIRS[condition.pair]
    train, test = results.played(condition, "train"), results.played(condition, "test")
    return failures(pair, train, test, good)
