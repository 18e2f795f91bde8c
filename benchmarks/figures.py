"""The file that a benchmark leaves: its figures, and the machine they belong to."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def load_before() -> tuple[float, float, float]:
    """Return how busy the machine is: mean numbers of running processes in 1, 5, 15 minutes."""
    return os.getloadavg()


def write_figures(
    path: Path, content: dict[str, Any], machine: dict[str, Any], load: tuple[float, float, float]
) -> None:
    """Write everything as JSON.

    Args:
        path: of the file.
        content: the figures.
        machine: as ``system_info`` describes it.
        load: ``load_before`` the first job.
    """
    machine = machine | {"command": " ".join(sys.argv), "load_before": load}
    text = json.dumps(content | {"machine": machine}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
