"""Sets of levels as a user writes them: ranges and lists."""

from __future__ import annotations

from collections.abc import Sequence

from ppo_mpi.errors import ConfigError


def level_set(text: str) -> Sequence[int] | None:
    """Return the levels that ``text`` lists, in its order.

    Args:
        text: ``A:B`` (A to B-1), ``A-B`` (A to B), a level, or several of these with commas.

    Returns:
        the levels; None if the text is no such list. A range may be empty.
    """
    parts = [part.strip() for part in text.split(",")]
    ranges = [_range_of(part) for part in parts]
    known = [levels for levels in ranges if levels is not None]
    if len(known) < len(ranges):
        return None
    if len(known) == 1:
        return known[0]
    return tuple(level for levels in known for level in levels)


def check_levels(levels: str, allow_both: bool) -> None:
    """Check that ``levels`` is train, test, both (where allowed), a range, or a list of levels.

    Raises:
        ConfigError: it is none of these, or has an empty range.
    """
    if levels in {"train", "test"} or (allow_both and levels == "both"):
        return
    parts = [level_set(part) for part in levels.split(",")]
    words = "train, test, both" if allow_both else "train, test"
    if None in parts:
        raise ConfigError(
            f"levels={levels!r} is not known; use {words}, A:B, A-B, or a list such as 3,7,12"
        )
    if not all(parts):
        raise ConfigError(f"levels={levels} is empty; use A:B with A smaller than B")


def _range_of(part: str) -> range | None:
    for sign, beyond in ((":", 0), ("-", 1)):
        low, found, high = part.partition(sign)
        if found and low.isdecimal() and high.isdecimal():
            return range(int(low), int(high) + beyond)
    return range(int(part), int(part) + 1) if part.isdecimal() else None
