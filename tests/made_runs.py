"""Folders of runs with made-up curves, as train and evaluate would have left them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from ppo_mpi.experiments.base import PlannedRun
from ppo_mpi.storage.run_folder import mark_done, step_name


def make_run(
    run: PlannedRun,
    train: Callable[[float], float],
    test: Callable[[float], float] | None = None,
    until: float = 1.0,
) -> None:
    """Write progress.csv, a checkpoint's folder and, if it is finished, DONE.

    Args:
        run: as planned.
        train: share of training done -> mean return on training levels.
        test: likewise on held-out levels; None leaves the column empty.
        until: share of the run's timesteps that were done.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    rollout = run.config.learning.rollout_timesteps
    iterations = max(1, int(until * run.timesteps / rollout))
    names = ["iteration", "timesteps", "timesteps_per_second", "mean_return", "test_mean_return"]
    with (run.folder / "progress.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerow([0, 0, 50.0, "", ""])  # no episode has ended yet
        for k in range(1, iterations + 1):
            share = k * rollout / run.timesteps
            held_out = "" if test is None else test(share)
            table.writerow([k, k * rollout, 100.0 + run.seed, train(share), held_out])
    timesteps = iterations * rollout
    (run.folder / step_name(timesteps)).mkdir()
    if timesteps >= run.timesteps:
        mark_done(run.folder, timesteps)


def make_evaluation(run: PlannedRun, train: float, test: float, same_layout: int = 0) -> None:
    """Write what evaluate leaves of a run."""
    (evaluation,) = run.evaluations
    document = {
        "timesteps": run.timesteps_done(),
        "levels": {"train (200)": {"mean_return": train}, "held-out": {"mean_return": test}},
        "overlap": {"same_layout": same_layout, "mean_return_without_them": test - 0.5},
    }
    (run.folder / evaluation.file).write_text(json.dumps(document))
    run.words_path(evaluation).write_text(json.dumps(list(evaluation.words)))


def files_in(folder: Path) -> set[str]:
    """Return the names of a folder's files."""
    return {path.name for path in folder.iterdir()}
