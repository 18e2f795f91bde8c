"""What all figures share: the plotting package, colors that everybody can tell apart, saving.

Colors: Okabe and Ito 2008, "Color universal design".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppo_mpi.errors import MissingPackageError

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
DARK_GREY, LIGHT_GREY = "#555555", "#999999"
FORMATS = ("png", "pdf")
STYLE = {
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay text, which journals ask for
    "figure.dpi": 160,
}


def plotting() -> Any:
    """Return matplotlib's pyplot, drawing to files only.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingPackageError(
            'figures need matplotlib: pip install "ppo_mpi[plot]"; the tables are written already'
        ) from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def write_figure(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a figure in every format, close it, and return the files."""
    paths = [folder / f"{name}.{ending}" for ending in FORMATS]
    for path in paths:
        figure.savefig(path, bbox_inches="tight")
    plotting().close(figure)
    return paths
