"""Trains the same seeds in bfloat16 and in float32, and shows the curves beside each other.

    python benchmarks/precision_learning.py --env starpilot --timesteps 300000 --seeds 0,1,2

The runs stay in the folder: what was interrupted goes on, what is finished is not trained again.
The picture needs matplotlib: pip install "ppo_mpi[plot]".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.compare_with_published import run_curve
from benchmarks.jobs import find_mpirun, worker_environment
from benchmarks.options import names, new_parser, positive
from benchmarks.scaling_plot import require_matplotlib

PRECISIONS = ("bfloat16", "float32")
COLORS = {"bfloat16": "tab:blue", "float32": "0.35"}
POINTS = 6
"""Of the table."""


def main() -> int:
    """Train, print a table and draw; return the exit status."""
    options, words = parse_options(sys.argv[1:])
    if options.plot:
        require_matplotlib()
    curves: dict[str, list[np.ndarray]] = {precision: [] for precision in PRECISIONS}
    # Seed by seed, so that an early end leaves pairs.
    for seed in options.seeds:
        for precision in PRECISIONS:
            run = options.folder / f"{options.env.replace(':', '-')}-{precision}-{seed}"
            train(options, words, precision, seed, run)
            curves[precision].append(run_curve(run))
    grid = np.linspace(0, options.timesteps, POINTS + 1)[1:]
    print(table(grid, {name: resampled(own, grid) for name, own in curves.items()}))
    if options.plot:
        draw(curves, options)
    if options.json:
        content = {name: [curve.tolist() for curve in own] for name, own in curves.items()}
        options.json.write_text(json.dumps(content), encoding="utf-8")
    return 0


def parse_options(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return (options, further settings of ``train`` as they were typed)."""
    parser = new_parser("Trains the same seeds in bfloat16 and in float32.")
    parser.add_argument("--env", default="starpilot")
    parser.add_argument("--preset", default="procgen-easy", help="gives the shapes (procgen-easy)")
    parser.add_argument("--seeds", type=names, default=["0", "1", "2"], help="of the runs (0,1,2)")
    parser.add_argument("--timesteps", type=positive, default=300_000, help="of each run (300000)")
    parser.add_argument("--ranks", type=positive, default=1, help="of each run (1)")
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"), help="of the runs")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    parser.add_argument("--json", type=Path, help="file for all curves")
    return parser.parse_known_args(argv)


def train(
    options: argparse.Namespace, words: list[str], precision: str, seed: str, run: Path
) -> None:
    """Train one run to its end; leave with its exit status if it fails.

    Args:
        options: of the benchmark.
        words: further settings of ``train``.
        precision: bfloat16 or float32.
        seed: of the run.
        run: its folder.
    """
    print(f"{run.name} ...", flush=True)
    command = [find_mpirun(), "-np", str(options.ranks)] if options.ranks > 1 else []
    command += [sys.executable, "-m", "ppo_mpi", "train", options.env, "--preset", options.preset]
    command += ["--total-timesteps", str(options.timesteps), "--seed", seed]
    command += ["--precision", precision, "--display", "off", "--run", str(run), *words]
    status = subprocess.run(command, env=worker_environment(os.environ), check=False).returncode
    if status:
        sys.exit(status)


def resampled(curves: list[np.ndarray], grid: np.ndarray) -> np.ndarray:
    """Return [runs, points] float64: the curves at the timesteps of the grid."""
    return np.array([np.interp(grid, curve[:, 0], curve[:, 1]) for curve in curves])


def table(grid: np.ndarray, found: dict[str, np.ndarray]) -> str:
    """Return mean and spread of each precision at the grid's timesteps, and every last return."""
    lines = ["timesteps  " + "".join(f"{name:>20}" for name in found)]
    for k, timesteps in enumerate(grid):
        cells = [f"{own[:, k].mean():.2f} +- {own[:, k].std():.2f}" for own in found.values()]
        lines.append(f"{timesteps:9,.0f}  " + "".join(f"{cell:>20}" for cell in cells))
    for name, own in found.items():
        lines.append(f"{name}: the runs end at {', '.join(f'{x:.2f}' for x in own[:, -1])}")
    lines.append("mean return of the last 100 episodes, standard deviation over the runs")
    return "\n".join(lines)


def draw(curves: dict[str, list[np.ndarray]], options: argparse.Namespace) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")  # no display is needed
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), dpi=130)
    for name, own in curves.items():
        for k, curve in enumerate(own):
            label = f"{name}, {len(own)} seeds" if not k else None
            axes.plot(curve[:, 0], curve[:, 1], color=COLORS[name], label=label, linewidth=1.2)
    axes.set(xlabel="timesteps", ylabel="mean return, last 100 episodes", title=options.env)
    axes.set_xlim(left=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(options.plot)
    print(f"wrote {options.plot}")


if __name__ == "__main__":
    sys.exit(main())
