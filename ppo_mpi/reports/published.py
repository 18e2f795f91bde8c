"""What the Procgen paper's baseline scored: learning curves of eight games, final means of all.

Source:
    Cobbe et al. 2020, arXiv:1912.01588; computed from the results that openai/train-procgen
    publishes under the MIT licence. The curves, in experiments/procgen_published_curves.csv,
    are means over 3 runs, smoothed over 10 iterations; the final means are those of the last
    100 iterations before 25M timesteps (easy) or 200M (hard), 3 runs.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

# (training levels, held-out levels)
EASY_200 = {
    "bigfish": (12.0, 4.8), "bossfight": (8.2, 7.5), "caveflyer": (7.2, 5.3),
    "chaser": (6.4, 5.6), "climber": (8.7, 5.8), "coinrun": (9.6, 8.7), "dodgeball": (5.1, 1.9),
    "fruitbot": (29.7, 26.6), "heist": (7.9, 2.7), "jumper": (8.6, 5.7), "leaper": (6.0, 5.7),
    "maze": (9.3, 5.6), "miner": (12.8, 9.4), "ninja": (7.7, 5.8), "plunder": (5.3, 4.6),
    "starpilot": (29.9, 24.0),
}  # fmt: skip
HARD_500 = {
    "bigfish": (10.0, 3.5), "bossfight": (10.6, 10.1), "caveflyer": (4.8, 3.2),
    "chaser": (7.3, 7.0), "climber": (9.1, 6.1), "coinrun": (7.7, 6.3), "dodgeball": (7.8, 4.9),
    "fruitbot": (18.8, 8.8), "heist": (3.9, 1.0), "jumper": (7.0, 3.1), "leaper": (6.5, 5.7),
    "maze": (7.1, 3.5), "miner": (18.4, 13.9), "ninja": (8.0, 5.7), "plunder": (5.4, 4.1),
    "starpilot": (13.2, 4.1),
}  # fmt: skip
TIMESTEPS = {"easy": 25_000_000, "hard": 200_000_000}
"""Of the published runs, by difficulty."""
RUNS = 3
"""Published runs of each game."""


@dataclass(frozen=True)
class PublishedCurve:
    """Mean return of the published runs over training."""

    timesteps: np.ndarray
    """[N] float64, rising."""
    mean: np.ndarray
    """[N] float64, over the runs."""
    spread: np.ndarray
    """[N] float64, standard deviation over the runs."""

    def at(self, timesteps: float) -> float | None:
        """Return the mean return at that time; None outside what was published."""
        if not self.timesteps[0] <= timesteps <= self.timesteps[-1]:
            return None
        return float(np.interp(timesteps, self.timesteps, self.mean))

    def until(self, timesteps: float) -> PublishedCurve:
        """Return the curve up to that time, where it ends between two of its points if need be."""
        kept = self.timesteps <= timesteps
        places = self.timesteps[kept]
        if len(places) and not kept.all():
            places = np.append(places, timesteps)
        mean, spread = (np.interp(places, self.timesteps, y) for y in (self.mean, self.spread))
        return PublishedCurve(places, mean, spread)


def published_curves() -> dict[tuple[str, str, str], PublishedCurve]:
    """Return (setting, game, split) -> curve, for what was published."""
    rows: dict[tuple[str, str, str], list[tuple[float, ...]]] = {}
    source = files("ppo_mpi.experiments") / "procgen_published_curves.csv"
    for row in csv.DictReader(source.read_text(encoding="utf-8").splitlines()):
        point = tuple(float(row[name]) for name in ("timesteps", "mean_return", "std_over_runs"))
        rows.setdefault((row["setting"], row["game"], row["split"]), []).append(point)
    return {key: PublishedCurve(*np.array(sorted(points)).T) for key, points in rows.items()}


def published_score(
    curves: Mapping[tuple[str, str, str], PublishedCurve], setting: str, game: str, split: str
) -> float | None:
    """Return the published mean return at the end of training; None where there is none.

    Args:
        curves: from ``published_curves``.
        setting: easy-200, easy-all, hard-500 or hard-all.
        game: of Procgen.
        split: train or test.
    """
    table = {"easy-200": EASY_200, "hard-500": HARD_500}.get(setting)
    if table is not None:
        return table[game][split == "test"] if game in table else None
    curve = curves.get((setting, game, split))
    end = TIMESTEPS[setting.partition("-")[0]]
    # A run's last iteration ends a little before its total.
    return curve.at(min(end, curve.timesteps[-1])) if curve else None
