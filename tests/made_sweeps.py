"""Searches whose runs nobody trains: a crew writes curves that were made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.storage.run_folder import mark_done, step_name
from ppo_mpi.sweeps.running import ToldToStopError
from ppo_mpi.sweeps.search_file import Search, parse_search
from ppo_mpi.sweeps.trials import Books

ROLLOUT = 512
GRID = """\
env: probe:match
total_timesteps: 4096
parameters:
  learning_rate: [0.001, 0.002, 0.003, 0.004]
seeds: 2
metric: mean_return
"""


def search_of(text: str = GRID, more: str = "") -> Search:
    """Return a search of 8 iterations a run."""
    return parse_search(text + more, "made.yaml")


class MadeUpCrew:
    """Does what a crew does, without training: ``curve(run, share done)`` is the mean return."""

    def __init__(
        self,
        books: Books,
        curve: Callable[[PlannedRun, float], float],
        fails: Callable[[PlannedRun], bool] = lambda run: False,
        stops_after: int = 10**9,
        parallel: int = 1,
    ) -> None:
        """Take the curve, the runs that fail, and after how many a signal comes."""
        self.books, self.curve, self.fails, self.parallel = books, curve, fails, parallel
        self.left = stops_after
        self.trained: list[tuple[str, int]] = []

    def advance(self, runs: Sequence[tuple[PlannedRun, int]], trains: bool = True) -> None:
        """Write the curves of some runs up to some timesteps."""
        for run, until in runs:
            done = run.timesteps_done()
            if self.books.status(run) in ("failed", "finished") or done >= until or not trains:
                continue
            if self.left == 0:
                raise ToldToStopError
            self.left -= 1
            self.books.write(run)
            self.trained.append((run.folder.name, until))
            if self.fails(run):
                self.books.write(run, failure="it was made to")
                continue
            write_curve(run, until, self.curve)


def write_curve(
    run: PlannedRun, until: int, curve: Callable[[PlannedRun, float], float]
) -> None:  # fmt: skip
    """Leave what a run leaves that has come so far."""
    run.folder.mkdir(parents=True, exist_ok=True)
    lines = ["iteration,timesteps,mean_return"]
    for k in range(1, until // ROLLOUT + 1):
        lines.append(f"{k},{k * ROLLOUT},{curve(run, k * ROLLOUT / run.timesteps)}")
    (run.folder / "progress.csv").write_text("\n".join(lines) + "\n")
    (run.folder / step_name(until)).mkdir()
    if until >= run.timesteps:
        mark_done(run.folder, until)
