"""Runs that repeat each other with other seeds -> groups, named by what differs between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ppo_mpi.config import resumable_fields
from ppo_mpi.reports.run_files import RunFiles

# May change when a run goes on, and yet shapes what comes of it.
_SHAPING = {"total_timesteps"}
# What a run brings is the same with any of these, but for its randomness.
_ALIKE = {"seed", "deterministic", "num_test_envs"}
_NUMBERING = re.compile(r"[-_. ]*(?:s|seed)?[-_. \d]*$")
MOST_FIELDS = 3
"""Settings that a legend names before the runs' own names are shorter."""


@dataclass(frozen=True)
class Group:
    """Runs with the same settings."""

    label: str
    """What tells it from the others; empty where there are no others."""
    runs: list[RunFiles]

    @property
    def env(self) -> str:
        """The environment."""
        return self.runs[0].env


def fields_alike() -> set[str]:
    """Return the settings that do not tell groups of runs apart."""
    return (resumable_fields() - _SHAPING) | _ALIKE


def shaping(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that shape what comes of a run, whatever its seed."""
    alike = fields_alike()
    kept = {name: value for name, value in settings.items() if name not in alike}
    schedules = [value for name, value in kept.items() if name.endswith("_schedule")]
    if set(schedules) <= {"", "constant"} and kept.get("soft_resets") != "scheduled":
        kept.pop("total_timesteps", None)  # without schedules a run does not know its end
    return kept


def differing(all_settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the settings that are not the same in all, in their order."""
    names = dict.fromkeys(name for settings in all_settings for name in settings)
    return [name for name in names if len({own.get(name) for own in all_settings}) > 1]


def group_runs(runs: Sequence[RunFiles]) -> list[Group]:
    """Put runs together that differ in nothing but what does not count.

    Args:
        runs: at least one.

    Returns:
        the groups in the order of their first runs. Labels tell those of one environment apart:
        each environment is drawn in a picture of its own.
    """
    found: dict[tuple[tuple[str, str], ...], list[RunFiles]] = {}
    for run in runs:
        found.setdefault(tuple(sorted(shaping(run.settings).items())), []).append(run)
    groups = list(found.values())
    labels: dict[int, str] = {}
    for env in dict.fromkeys(own[0].env for own in groups):
        places = [k for k, own in enumerate(groups) if own[0].env == env]
        labels |= zip(places, _labels([groups[k] for k in places]), strict=True)
    return [Group(labels[k], own) for k, own in enumerate(groups)]


def _labels(groups: Sequence[Sequence[RunFiles]]) -> list[str]:
    """Return what tells groups in one environment apart."""
    settings = [shaping(own[0].settings) for own in groups]
    names = differing(settings)
    if not names:
        return [""] * len(groups)
    texts = [
        ", ".join(f"{name}={own.get(name) or 'none'}" for name in names[:MOST_FIELDS])
        for own in settings
    ]
    if len(names) <= MOST_FIELDS:
        return texts
    stems = [_stem([run.name for run in own]) for own in groups]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{text}, ..." for text in texts]


def _stem(names: Sequence[str]) -> str:
    """Return what the names of a group's runs begin with, without what numbers them."""
    if len(names) == 1:
        return names[0]
    letters = takewhile(lambda column: len(set(column)) == 1, zip(*names, strict=False))
    return _NUMBERING.sub("", "".join(column[0] for column in letters)) or names[0]


def same_seeds(group: Group) -> list[str]:
    """Return the names of runs that have the seed of another one of their group."""
    seen: set[str] = set()
    again = []
    for run in group.runs:
        seed = run.settings["seed"]
        if seed in seen:
            again.append(run.name)
        seen.add(seed)
    return again
