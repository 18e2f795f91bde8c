"""Draw a run's learning curve beside the published one of the Procgen paper's baseline.

    python benchmarks/compare_with_published.py checkpoints/starpilot --output starpilot.png

The published curves (procgen_published_curves.csv in ppo_mpi/experiments) are condensed from the
results that openai/train-procgen publishes under the MIT licence: Cobbe et al. 2020,
arXiv:1912.01588; eight games, mean and spread over three runs.
Needs matplotlib: pip install "ppo_mpi[plot]".
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import yaml

PUBLISHED = (
    Path(__file__).resolve().parents[1] / "ppo_mpi" / "experiments" / "procgen_published_curves.csv"
)


def published_curve(setting: str, game: str, split: str) -> np.ndarray:
    """Return [N, 3] float64: timesteps, mean return, standard deviation over the runs.

    Raises:
        SystemExit: there is no such curve.
    """
    with PUBLISHED.open(newline="") as file:
        rows = [
            [float(row[name]) for name in ("timesteps", "mean_return", "std_over_runs")]
            for row in csv.DictReader(file)
            if (row["setting"], row["game"], row["split"]) == (setting, game, split)
        ]
    if not rows:
        raise SystemExit(f"no published curve for {setting}, {game}, {split} in {PUBLISHED}")
    return np.array(rows)


def run_curve(run_dir: Path) -> np.ndarray:
    """Return [N, 2] float64: timesteps, mean return of the last 100 training episodes."""
    with (run_dir / "progress.csv").open(newline="") as file:
        rows = [
            [float(row["timesteps"]), float(row["mean_return"])]
            for row in csv.DictReader(file)
            if row["mean_return"]
        ]
    return np.array(rows)


def setting_of(run_dir: Path) -> tuple[str, str]:
    """Return the published setting's name and the game that fit the run's config."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    levels = config["procgen"]["num_levels"] or "all"
    game = config["environment"]["env"].removeprefix("procgen:")
    return f"{config['procgen']['distribution_mode']}-{levels}", game


def main() -> None:
    """Draw the picture and print both curves at a few points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path, help="folder of the run, checkpoints/NAME")
    parser.add_argument("--output", type=Path, default=Path("comparison.png"), help="PNG to write")
    arguments = parser.parse_args()
    setting, game = setting_of(arguments.run_dir)
    published = published_curve(setting, game, "train")
    own = run_curve(arguments.run_dir)
    end = own[-1, 0]
    print(f"{game}, {setting}: mean return of the last 100 episodes")
    print("timesteps  this run  published")
    for timesteps in np.linspace(0, end, 9)[1:]:
        here = np.interp(timesteps, own[:, 0], own[:, 1])
        mean, spread = (np.interp(timesteps, published[:, 0], published[:, k]) for k in (1, 2))
        print(f"{timesteps:9.0f}  {here:8.2f}  {mean:.2f} +- {spread:.2f}")
    draw(published[published[:, 0] <= end * 1.02], own, f"{game}, {setting}", arguments.output)


def draw(published: np.ndarray, own: np.ndarray, title: str, output: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), dpi=130)
    million = 1e6
    x, mean, spread = published[:, 0] / million, published[:, 1], published[:, 2]
    axes.fill_between(x, mean - spread, mean + spread, color="0.8", linewidth=0)
    axes.plot(x, mean, color="0.35", label="published baseline, 3 runs ± std (smoothed)")
    axes.plot(own[:, 0] / million, own[:, 1], color="tab:blue", label="ppo_mpi, 1 run, 2 ranks")
    axes.set(xlabel="timesteps (millions)", ylabel="mean return, last 100 episodes", title=title)
    axes.set_xlim(left=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(output)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
