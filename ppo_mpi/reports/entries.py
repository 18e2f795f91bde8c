"""What a report's charts tell apart: runs, and groups of runs that repeat each other with seeds.

Axis: N points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ppo_mpi.reports.bands import MeanCurve, Points, mean_over_runs
from ppo_mpi.reports.grouping import Group, group_runs
from ppo_mpi.reports.panels import make_line
from ppo_mpi.reports.run_files import RunFiles

View = Literal["means", "runs"]
"""Whether the charts show a curve for each group of runs, or one for each run."""
MOST_TIMES = 300
"""Points by which the page knows at which hour a curve was at which timestep."""


@dataclass(frozen=True)
class Entry:
    """One entry of the legend: in each chart it has a curve or none."""

    label: str
    view: View
    group: Group
    """Of one run, in the view of single runs."""

    def curve(self, column: str) -> MeanCurve | None:
        """Return a column's mean over the runs, over timesteps; None where no run has a value."""
        line = make_line(self.group, column, "timesteps", smooth=1)
        return line.curve if line else None

    def clock(self) -> Points:
        """Return [N] float64 timesteps and [N] float64 hours, mean over the runs; N may be 0."""
        curves = [run.clock() for run in self.group.runs]
        curves = sorted((c for c in curves if len(c[0])), key=lambda curve: -len(curve[0]))
        if not curves:
            return np.zeros(0), np.zeros(0)
        mean = mean_over_runs(curves)
        kept = np.unique(np.linspace(0, len(mean.x) - 1, MOST_TIMES).astype(int))
        return (mean.x[kept], mean.mean[kept]) if len(mean.x) else (mean.x, mean.mean)


def entries_of(runs: Sequence[RunFiles]) -> list[Entry]:
    """Return the legend: the groups if one has several runs, and every run.

    Args:
        runs: at least one.
    """
    groups = group_runs(runs)
    several_envs = len({group.env for group in groups}) > 1
    means = []
    for group in groups:
        named = (group.env if several_envs or not group.label else "", group.label)
        seeds = f"{len(group.runs)} seeds" if len(group.runs) > 1 else "1 seed"
        means.append(Entry(f"{', '.join(filter(None, named))} ({seeds})", "means", group))
    single = [Entry(run.name, "runs", Group(run.name, [run])) for run in runs]
    return (means if len(groups) < len(runs) else []) + single
