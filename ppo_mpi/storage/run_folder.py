"""The folder of a run: names of its files, finding runs and checkpoints, tags, pruning, DONE.

A run lives in ``<checkpoint_dir>/<run>/``. Rank 0 alone calls what writes here, best by way of
``durable.on_root``, which turns an error of rank 0 into an error of every rank.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.registry import unknown_name
from ppo_mpi.storage import gallery
from ppo_mpi.storage.durable import HALF_WRITTEN, explained, sync_folder, write_atomically
from ppo_mpi.storage.strict_json import parse_json
from ppo_mpi.storage.untrusted_files import read_regular_file

CONFIG = "config.yaml"
PROGRESS = "progress.csv"
EPISODES = "episodes.csv"
TENSORBOARD = "tensorboard"
TRACKERS = "trackers"
"""What other trackers note and write."""
SYSTEM = "system.json"
TAGS = "tags.json"
DONE = "DONE"
REPORT = "report.html"
MANIFEST = "manifest.json"
NEWEST = "NEWEST"
"""Holds the name of the checkpoint that was saved last, so that its loss is noticed."""

UNREADABLE = "unreadable-"
"""How the names of damaged checkpoints begin, once they are set aside."""
MAX_TAGS_BYTES = 2**20
HALF_REMOVED = ".del-"
BEING_REPLACED = ".old-"
_STEP_FOLDER = re.compile(r"step-(\d{12,})")


def step_name(timesteps: int) -> str:
    """Return the name of the checkpoint folder after ``timesteps``; names sort like numbers."""
    return f"step-{timesteps:012d}"


def step_timesteps(folder: Path) -> int | None:
    """Return the timesteps that a checkpoint folder's name says, None if it is none."""
    match = _STEP_FOLDER.fullmatch(folder.name)
    return int(match[1]) if match else None


def checkpoints_of(run_dir: Path) -> list[Path]:
    """Return a run's checkpoint folders, newest (most timesteps) first; empty if there are none.

    Their content is not looked at: ``load_checkpoint`` does that.
    """
    if not run_dir.is_dir():
        return []
    found = [(step_timesteps(p), p) for p in run_dir.iterdir() if p.is_dir()]
    steps = [(timesteps, path) for timesteps, path in found if timesteps is not None]
    return [path for _, path in sorted(steps, reverse=True)]


def run_dir(checkpoint_dir: str | Path, run: str, default: str) -> Path:
    """Return the folder of the run to train; nothing is made or read.

    Args:
        checkpoint_dir: the folder of the runs.
        run: a name under ``checkpoint_dir``; with a slash in it, a path; or empty.
        default: the name to take if ``run`` is empty.

    Raises:
        ConfigError: ``run`` is a checkpoint of a run, or in the gallery.
    """
    folder = _folder(run or default, checkpoint_dir)
    if gallery.is_name(run) or gallery.holds(folder):
        agent = run if folder.is_dir() else "gallery/AGENT"
        raise ConfigError(
            f"run={run} is in the gallery, in which nothing is written; name a run of your own, "
            f"which may begin with an agent's layers: --run NAME --borrow-from {agent}"
        )
    if step_timesteps(folder) is not None:
        raise ConfigError(
            f"run={run} names a checkpoint, not a run; use --run {folder.parent} (a run goes on "
            "from its newest checkpoint)"
        )
    return folder


def make_run_dir(folder: Path) -> None:
    """Make a run's folder and try to write there.

    Raises:
        ConfigError: the folder cannot be made or written.
    """
    probe = folder / f"{HALF_WRITTEN}probe-{os.getpid()}"
    try:
        _make_durably(folder)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cannot write to the run's folder {folder} ({error.strerror}); choose another with "
            "--checkpoint-dir or --run, or make it writable"
        ) from error


def _make_durably(folder: Path) -> None:
    if not folder.is_dir():
        _make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def find_run(run: str, checkpoint_dir: str | Path) -> tuple[Path, Path | None]:
    """Find what the user means by ``--run`` among the runs that have checkpoints.

    Args:
        run: empty (the newest run), a name under ``checkpoint_dir``, a path to a run or to one of
            its checkpoints, or ``gallery/NAME``; a name or path may be followed by ``:best``, by
            another tag or by a checkpoint's timesteps.
        checkpoint_dir: the folder of the runs.

    Returns:
        the run's folder and the checkpoint asked for, None where it is the newest whole one.

    Raises:
        CheckpointError: there is no such run, tag or checkpoint; the message names what there is.
    """
    runs = known_runs(checkpoint_dir)
    if not run:
        if not runs:
            raise CheckpointError(f"there is no trained run in {checkpoint_dir}; {_HOW_TO_TRAIN}")
        return max(runs.values(), key=_last_written), None
    folder = _folder(run, checkpoint_dir)
    if checkpoints_of(folder):
        return folder, None
    if step_timesteps(folder) is not None and folder.is_dir():
        return folder.parent, folder
    name, _, tag = run.rpartition(":")
    if name and checkpoints_of(_folder(name, checkpoint_dir)):
        folder = _folder(name, checkpoint_dir)
        return folder, _tagged(folder, tag)
    if gallery.is_name(run):
        raise CheckpointError(gallery.no_such_agent(run))
    if folder.is_dir():
        raise CheckpointError(f"the run {folder} has no checkpoint yet; {_HOW_TO_TRAIN}")
    where = f" (runs are looked for in {checkpoint_dir})"
    message = unknown_name("run", run, runs) if runs else f"unknown run {run!r}; there is none yet"
    raise CheckpointError(f"{message}{where}; {_HOW_TO_TRAIN}")


_HOW_TO_TRAIN = "train one with: python -m ppo_mpi train coinrun"


def known_runs(checkpoint_dir: str | Path) -> dict[str, Path]:
    """Return name -> folder of the runs in ``checkpoint_dir`` that have a checkpoint."""
    root = Path(checkpoint_dir).expanduser()
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {p.name: p for p in folders if not p.name.startswith(".") and checkpoints_of(p)}


def _folder(run: str, checkpoint_dir: str | Path) -> Path:
    if gallery.is_name(run):
        return gallery.place_of(run, Path(checkpoint_dir).expanduser() / run)
    if "/" in run or run in (".", "..") or run.startswith("~"):
        return Path(run).expanduser()
    return Path(checkpoint_dir).expanduser() / run


def _last_written(folder: Path) -> float:
    manifests = [path / MANIFEST for path in checkpoints_of(folder)]
    return max((path.stat().st_mtime for path in manifests if path.is_file()), default=0.0)


def _tagged(folder: Path, tag: str) -> Path:
    tags = read_tags(folder)
    name = tags.get(tag) or (step_name(int(tag)) if tag.isascii() and tag.isdigit() else tag)
    steps = {path.name: path for path in checkpoints_of(folder)}
    if name in steps:
        return steps[name]
    known = [*sorted(tags), *(str(step_timesteps(path)) for path in steps.values())]
    raise CheckpointError(
        f"the run {folder} has no checkpoint {tag!r}; known: {', '.join(known)} "
        "(leave it out for the newest)"
    )


def read_tags(folder: Path) -> dict[str, str]:
    """Return tag -> name of its checkpoint folder.

    Raises:
        CheckpointError: the file of the tags is damaged.
    """
    path = folder / TAGS
    if not path.exists():
        return {}
    remedy = "mend it, or remove it (no checkpoint is called the best then)"
    try:
        tags = parse_json(read_regular_file(path, MAX_TAGS_BYTES))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error}); {remedy}") from error
    if not isinstance(tags, dict) or not all(isinstance(v, str) for v in tags.values()):
        raise CheckpointError(f"{path} is not an object of strings; {remedy}")
    return tags


def newest_saved(folder: Path) -> str:
    """Return the name of the checkpoint that was saved last; empty if that is not known."""
    try:
        name = read_regular_file(folder / NEWEST, 100).decode("ascii").strip()
    except (OSError, ValueError):
        return ""
    return name if _STEP_FOLDER.fullmatch(name) else ""


def write_newest(folder: Path, name: str) -> None:
    """Remember the name of the checkpoint that was just saved."""
    write_atomically(folder / NEWEST, f"{name}\n".encode())


def set_tags(folder: Path, names: Iterable[str], checkpoint: Path) -> None:
    """Name a checkpoint of the run, for example ``best``; it is kept until the tag moves on."""
    known = read_tags(folder)
    tags = known | dict.fromkeys(names, checkpoint.name)
    if tags == known:
        return
    assert not any(tag.isdigit() for tag in tags), f"one of {tags} would read as timesteps"
    assert checkpoint.is_dir(), f"{checkpoint}, to be tagged, does not exist"
    with explained("save the tags", folder):
        write_atomically(folder / TAGS, json.dumps(tags, indent=2, sort_keys=True).encode() + b"\n")


def prune(folder: Path, keep: int) -> list[Path]:
    """Remove all checkpoints but the newest ``keep`` and the tagged; return what was removed."""
    assert keep >= 1, f"keep={keep} would remove every checkpoint"
    tagged = set(read_tags(folder).values())
    removed = [path for path in checkpoints_of(folder)[keep:] if path.name not in tagged]
    with explained("remove older checkpoints", folder):
        for path in removed:
            remove_folder(path)
    return removed


def remove_folder(path: Path) -> None:
    """Remove a checkpoint folder; one that is half removed never looks like a checkpoint."""
    doomed = path.with_name(f"{HALF_REMOVED}{path.name}-{os.getpid()}")
    os.rename(path, doomed)
    _remove(doomed)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def clean_leftovers(folder: Path) -> None:
    """Remove what an interrupted save or removal left behind; call at start-up, on rank 0.

    A checkpoint that was being replaced by one of the same timesteps is put back if the new one
    did not get into its place.
    """
    with explained("remove what an interrupted save left", folder):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            original = folder / path.name.removeprefix(BEING_REPLACED)
            if path.name.startswith(BEING_REPLACED) and not original.exists():
                os.rename(path, original)
            elif path.name.startswith((HALF_WRITTEN, HALF_REMOVED, BEING_REPLACED)):
                _remove(path)


def refuse_links(folder: Path) -> None:
    """Refuse a run's folder in which training would write through a symbolic link.

    A run from a stranger must not reach other files; training itself makes no links.

    Raises:
        CheckpointError: it has one; the message names it.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_symlink():
            raise CheckpointError(
                f"{path} is a symbolic link, which training would write through; put what it "
                "points to in its place, or remove it"
            )


def traces_of_checkpoints(folder: Path) -> list[str]:
    """Return the names of what only a run that has saved a checkpoint leaves in its folder."""
    names = sorted(path.name for path in folder.iterdir())
    marks = (TAGS, DONE, NEWEST)
    return [name for name in names if name in marks or name.startswith(UNREADABLE)]


def start_over(folder: Path) -> None:
    """Remove all that a run wrote, for ``--clobber``; other files in its folder stay."""
    clean_leftovers(folder)
    clear_done(folder)
    with explained("remove the run so far", folder):
        for path in checkpoints_of(folder):
            remove_folder(path)
        for path in sorted(folder.glob(f"{UNREADABLE}*")):
            _remove(path)
        for name in (CONFIG, PROGRESS, EPISODES, SYSTEM, TAGS, NEWEST, REPORT):
            (folder / name).unlink(missing_ok=True)
        for name in (TENSORBOARD, TRACKERS):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)


def mark_done(folder: Path, timesteps: int) -> None:
    """Write the marker that says that the run reached its total of timesteps."""
    with explained("mark the run as done", folder):
        write_atomically(folder / DONE, f"{timesteps}\n".encode())


def is_done(folder: Path) -> bool:
    """Return whether the run reached the total it was given last."""
    return (folder / DONE).is_file()


def done_timesteps(folder: Path) -> int | None:
    """Return the timesteps with which the run was finished, None if it is not."""
    try:
        text = read_regular_file(folder / DONE, 40).decode("ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() else None


def clear_done(folder: Path) -> None:
    """Remove the marker, for a finished run that is to go on."""
    with explained(f"remove the mark {DONE}", folder):
        (folder / DONE).unlink(missing_ok=True)


def write_config(folder: Path, text: str) -> None:
    """Write the run's resolved config, YAML."""
    with explained("write the config", folder):
        write_atomically(folder / CONFIG, text.encode())
