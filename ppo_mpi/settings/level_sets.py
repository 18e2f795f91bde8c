"""Sets of levels as a user writes them: ranges and lists. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence


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


def _range_of(part: str) -> range | None:
    for sign, beyond in ((":", 0), ("-", 1)):
        low, found, high = part.partition(sign)
        if found and low.isdecimal() and high.isdecimal():
            return range(int(low), int(high) + beyond)
    return range(int(part), int(part) + 1) if part.isdecimal() else None
