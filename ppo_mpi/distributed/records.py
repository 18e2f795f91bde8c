"""What each rank writes of itself under ``<run>/ranks/``: its heartbeat and its failure.

Small JSON files that are replaced as a whole. They help to tell what happened; nothing that a run
needs depends on them, so a disk that is full or slow is no error here.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HEARTBEAT = "heartbeat"
FAILURE = "failure"
KINDS = (HEARTBEAT, FAILURE)


def records_of(run_dir: Path) -> Path:
    """Return the folder of a run's records."""
    return run_dir / "ranks"


def record_path(folder: Path, kind: str, rank: int) -> Path:
    """Return the file of a rank's heartbeat or failure."""
    return folder / f"{kind}_{rank:03d}.json"


def write_record(folder: Path, kind: str, rank: int, content: dict[str, Any]) -> None:
    """Replace a rank's record; where that is not possible it stays as it is."""
    path = record_path(folder, kind, rank)
    half_written = path.with_suffix(f".{os.getpid()}")
    text = json.dumps({"rank": rank, **content, "time": time.time()})
    with contextlib.suppress(OSError):
        half_written.write_text(text, encoding="utf-8")
        os.replace(half_written, path)


def read_record(folder: Path, kind: str, rank: int) -> dict[str, Any] | None:
    """Return a rank's record; None if there is none, or none that can be read."""
    try:
        content = json.loads(record_path(folder, kind, rank).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def new_records(run_dir: Path, rank: int) -> Path:
    """Return the folder of a run's records, without those of this rank's earlier life."""
    folder = records_of(run_dir)
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        for kind in KINDS:
            record_path(folder, kind, rank).unlink(missing_ok=True)
    return folder


def forget_records(run_dir: Path, ranks: int, kinds: Iterable[str] = KINDS) -> None:
    """Remove the records of earlier lives, so that none is taken for one of the next."""
    for kind in kinds:
        for rank in range(ranks):
            with contextlib.suppress(OSError):
                record_path(records_of(run_dir), kind, rank).unlink(missing_ok=True)
