"""envs: which families of environments are there, how to get the others, and their tasks."""

from __future__ import annotations

import ctypes

from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import EnvsConfig
from ppo_mpi.modes.families import FAMILIES, Family, is_there
from ppo_mpi.registry import SUITES, default_preset, unknown_name

MISSING = "not installed"


def envs_command(config: EnvsConfig) -> int:
    """Print all families, or the tasks of one.

    Raises:
        ConfigError: there is no family of that name.
    """
    known = shown_families()
    if not config.family:
        print("\n".join(overview(known)))
        return 0
    if config.family not in known:
        raise ConfigError(unknown_name("family of environments", config.family, known))
    print("\n".join(listing(config.family, known[config.family])))
    return 0


def shown_families() -> dict[str, Family]:
    """Return the families whose suite there is."""
    return {name: family for name, family in FAMILIES.items() if family.suite in SUITES}


def overview(families: dict[str, Family]) -> list[str]:
    """Return a table with a line for each family, and below it what is missing."""
    rows = [("family", "what it is", "tasks", "train ...", "preset", "installed")]
    hints = []
    for name, family in families.items():
        found = versions(family)
        tasks = family.tasks() if family.tasks and found is not None else None
        number = str(len(tasks)) if tasks is not None else "?" if family.tasks else "any"
        preset = default_preset(family.example) if found is not None else ""
        there = MISSING if found is None else ", ".join(found) or "yes"
        rows.append((name, family.title, number, family.example, preset, there))
        hints += [f"  {name}: {hint}" for hint in remedies(family)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if hints:
        lines += ["", "to get what is missing:", *hints]
    return [*lines, "", "the tasks of one family: python -m ppo_mpi envs FAMILY"]


def listing(name: str, family: Family) -> list[str]:
    """Return the tasks of one family, a line each, between what it is and how to train."""
    found = versions(family)
    lines = [f"{name}: {family.title}" + (f"; {family.note}" if family.note else "")]
    lines += [", ".join(found) if found else MISSING if found is None else "nothing to install"]
    lines += remedies(family)
    if found is not None and family.tasks is not None:
        lines += [f"  {task}" for task in family.tasks()]
    return [*lines, f"train with: python -m ppo_mpi train {family.example}"]


def versions(family: Family) -> list[str] | None:
    """Return what is installed of what a family needs; None if it cannot be trained in."""
    found = [package.version() for package in family.packages]
    return None if None in found else [version for version in found if version is not None]


def remedies(family: Family) -> list[str]:
    """Return what to do for a family, one line each; nothing if everything is there."""
    missing = [package.module for package in family.packages if package.version() is None]
    lines = [f"{' and '.join(missing)} missing; {family.remedy}"] if missing else []
    cannot = [name for name in family.draws_with if not can_load(name)]
    if cannot:
        what = f"{' and '.join(cannot)} missing, needed to draw only"
        lines.append(f"{what}; {family.draw_remedy}")
    return lines


def can_load(name: str) -> bool:
    """Return whether a module is there, or a shared library can be loaded."""
    if ".so" not in name:
        return is_there(name)
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
