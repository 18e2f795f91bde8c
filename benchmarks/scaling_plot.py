"""The picture of scaling: timesteps per second against ranks, beside what would be ideal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.jobs import program

COLORS = {"strong": "tab:blue", "weak": "tab:orange"}


def require_matplotlib() -> None:
    """Leave with a remedy if matplotlib is missing: before the measurement, not after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        sys.exit(f'{program()}: error: --plot needs matplotlib; pip install "ppo_mpi[plot]"')


def ideal(ranks: Sequence[int], speeds: Sequence[float]) -> list[float]:
    """Return the speed in proportion to the ranks, through the point of the fewest ranks.

    Args:
        ranks: numbers of them.
        speeds: timesteps per second there.
    """
    fewest = min(ranks)
    speed = speeds[list(ranks).index(fewest)]
    return [speed * count / fewest for count in ranks]


def draw(results: Sequence[Mapping[str, Any]], env: str, output: Path) -> None:
    """Write the picture.

    Args:
        results: rows of the table, of one kind or both.
        env: name for the title.
        output: PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")  # no display is needed
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), dpi=130)
    for kind in dict.fromkeys(r["kind"] for r in results):
        rows = [r for r in results if r["kind"] == kind]
        ranks = [r["ranks"] for r in rows]
        speeds = [r["timesteps_per_second"] for r in rows]
        below = [r["timesteps_per_second"] - r["slowest"] for r in rows]
        above = [r["fastest"] - r["timesteps_per_second"] for r in rows]
        color = COLORS[kind]
        axes.plot(ranks, ideal(ranks, speeds), ":", color=color, label=f"{kind}, ideal")
        axes.errorbar(ranks, speeds, [below, above], fmt="o-", color=color, capsize=3, label=kind)
    axes.set(xlabel="ranks", ylabel="timesteps/s", title=f"{env}: medians, slowest to fastest")
    axes.set_xticks(sorted({r["ranks"] for r in results}))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(output)
    plt.close(figure)
    print(f"wrote {output}")
