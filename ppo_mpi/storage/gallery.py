"""The gallery: agents trained by this code that lie in its repository, and how they are named.

``gallery/coinrun`` is ``assets/gallery/coinrun`` of the checkout. Nothing is written there but by
``benchmarks/gallery.py``: what is made of its agents goes to ``<asset_dir>/gallery-coinrun``.
"""

from __future__ import annotations

import os
from pathlib import Path

import ppo_mpi

PREFIX = "gallery"
"""Of the agents' names, before a slash."""
FOLDER = Path("assets") / "gallery"
"""In the repository."""


def is_name(run: str) -> bool:
    """Return whether a run is named as an agent of the gallery."""
    return run.startswith(f"{PREFIX}/")


def galleries() -> list[Path]:
    """Return the galleries at hand: of the checkout we stand in, and of the one that runs."""
    checkout = Path(ppo_mpi.__file__).resolve().parents[1]
    return [path for path in (FOLDER, checkout / FOLDER) if path.is_dir()]


def agents() -> dict[str, Path]:
    """Return name -> folder of the agents at hand, ``gallery/coinrun`` for example."""
    return {
        f"{PREFIX}/{path.name}": path
        for root in reversed(galleries())
        for path in sorted(root.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }


def place_of(run: str, own: Path) -> Path:
    """Return the path that a name of the gallery means, the user's own folders first.

    Args:
        run: with the prefix; a checkpoint or a file of the agent may follow.
        own: what the name would mean under the folder of the runs.
    """
    for path in (Path(run), own, *(root.parent / run for root in galleries())):
        if path.exists():
            return path
    return own


def holds(folder: Path) -> bool:
    """Return whether a folder is an agent of the gallery, or inside of one."""
    roots = {root.resolve() for root in galleries()}
    return not roots.isdisjoint(folder.resolve().parents)


def no_such_agent(run: str) -> str:
    """Return what to say of a name that is not in the gallery."""
    known = agents()
    if not known:
        return (
            f"{run!r} is an agent of the gallery, which is in the repository of ppo_mpi and not in "
            f"an installed package; stand in a checkout, or name the folder: "
            f"--run PATH/{FOLDER}/NAME"
        )
    return f"there is no {run!r}; the gallery has {', '.join(sorted(known))}"


def assets_of(run_dir: Path, asset_dir: str | Path) -> Path:
    """Return the folder of what is made of a run: videos, pictures, exported policies."""
    name = Path(os.path.abspath(run_dir)).name  # of a link its own name, as the user knows it
    return Path(asset_dir).expanduser() / (f"{PREFIX}-{name}" if holds(run_dir) else name)
