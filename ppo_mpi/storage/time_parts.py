"""Where a job's time goes: parts that do not overlap, from the columns of progress.csv."""

from __future__ import annotations

from collections.abc import Mapping


def time_parts(columns: Mapping[str, float | None]) -> dict[str, float]:
    """Return part -> seconds of an iteration, means over the ranks; parts of a kind add up.

    Args:
        columns: a row of progress.csv. There the engine's time lies within the collecting,
            communication within the update, waiting within communication.

    Returns:
        ``engine``, ``policy`` (or ``collect`` where they are not told apart), ``update``, ``MPI``,
        ``waiting`` (for the slowest rank) and ``other`` (logs, evaluations, checkpoints), as far
        as the columns are there.
    """
    collect, engine = columns.get("collect_seconds"), columns.get("engine_seconds")
    update, talking = columns.get("update_seconds"), columns.get("communication_seconds")
    waiting, between = columns.get("waiting_seconds"), columns.get("between_seconds")
    parts: dict[str, float] = {}
    if collect is not None and engine is not None:
        parts |= {"engine": engine, "policy": max(0.0, collect - engine)}
    elif collect is not None:
        parts["collect"] = collect
    if update is not None:
        parts["update"] = max(0.0, update - (talking or 0.0))
    if talking is not None:
        parts["MPI"] = max(0.0, talking - (waiting or 0.0))
    if waiting is not None:
        parts["waiting"] = waiting
    if between is not None:
        parts["other"] = between
    return parts


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Return part -> share of all of them; {} if they are nothing together."""
    whole = sum(parts.values())
    return {name: value / whole for name, value in parts.items()} if whole > 0 else {}
