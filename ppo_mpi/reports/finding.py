"""Which runs the user means: names, paths, folders of runs, patterns; the newest by default."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from ppo_mpi.errors import ConfigError
from ppo_mpi.registry import unknown_name
from ppo_mpi.storage import gallery
from ppo_mpi.storage.run_folder import CONFIG, PROGRESS

_PATTERN = "*?["


def find_runs(words: Sequence[str], checkpoint_dir: str) -> tuple[list[Path], list[str]]:
    """Find runs that have a curve, finished or not.

    Args:
        words: names under ``checkpoint_dir``, paths, or patterns of either; a folder that holds
            runs stands for all of them. None takes the run that was written last.
        checkpoint_dir: the folder of the runs.

    Returns:
        the folders, each once, in the order of the words; and what to tell the user.

    Raises:
        ConfigError: a word names no run, or there is none at all.
    """
    root = Path(checkpoint_dir).expanduser()
    known = runs_in(root)
    if not words:
        if not known:
            raise ConfigError(
                f"there is no run with a curve in {checkpoint_dir}; train one with: "
                "python -m ppo_mpi train coinrun"
            )
        return [max(known, key=lambda folder: (folder / PROGRESS).stat().st_mtime)], []
    found: dict[Path, Path] = {}
    notes = []
    for word in words:
        for folder in _folders(word, root):
            runs = [folder] if is_run(folder) else runs_in(folder)
            if not runs and len(words) == 1 and not any(c in word for c in _PATTERN):
                raise ConfigError(_no_run(word, root, known))
            if not runs:
                notes.append(f"{folder} is no run with a curve: it is left out")
            found |= {run.resolve(): run for run in runs if run.resolve() not in found}
    if not found:
        raise ConfigError(_no_run(" ".join(words), root, known))
    return list(found.values()), notes


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a run with a curve."""
    return (folder / CONFIG).is_file() and (folder / PROGRESS).is_file()


def runs_in(folder: Path) -> list[Path]:
    """Return the runs directly in a folder, sorted by name."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in inside if not path.name.startswith(".") and is_run(path)]


def _folders(word: str, root: Path) -> list[Path]:
    """Return the paths that a word may mean."""
    path = Path(word).expanduser()
    if gallery.is_name(word):
        names = fnmatch.filter(gallery.agents(), word) or [word]
        return [gallery.place_of(name, root / name) for name in names]
    is_path = "/" in word or word in (".", "..") or word.startswith("~")
    base = path if is_path else root / word
    if any(c in word for c in _PATTERN):
        # A shell leaves a pattern as it is where it matches nothing, and in quotes.
        anchor = Path(base.anchor) if base.is_absolute() else Path()
        pattern = str(base.relative_to(base.anchor)) if base.is_absolute() else str(base)
        matched = sorted(anchor.glob(pattern))
        if matched:
            return matched
    if not is_path and not base.exists() and path.exists():
        return [path]
    return [base]


def _no_run(word: str, root: Path, known: Sequence[Path]) -> str:
    if gallery.is_name(word):
        return gallery.no_such_agent(word)
    names = [path.name for path in known]
    if not names:
        return f"{word} is no run with a curve, and there is none in {root}"
    return f"{unknown_name('run', word, names)} (runs are looked for in {root})"
