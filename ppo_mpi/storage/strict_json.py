"""Reads JSON that may come from a stranger: bounded, and with one meaning only."""

from __future__ import annotations

import json
from typing import Any

MOST_DIGITS = 40
"""Digits of a whole number; the longest that we write is a random generator's 128 bits."""


def parse_json(content: bytes) -> Any:
    """Read JSON in UTF-8.

    Raises:
        ValueError: it is no JSON, is nested too deeply, names a key twice in one object, or has a
            whole number of more than ``MOST_DIGITS`` digits.
    """
    try:
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_each_key_once, parse_int=_short_int
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} stands twice in one object")
            seen.add(key)
    return found


def _short_int(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a whole number has {len(text)} digits")
    return int(text)
