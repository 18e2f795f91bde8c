"""Pieces of HTML; every text is escaped here, and nowhere else is one needed."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any


class Markup(str):
    """HTML that is safe to put into a page: made of literals and of escaped texts."""


def escaped(value: Any) -> Markup:
    """Return a value as HTML: markup as it is, anything else escaped."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def tag(name: str, *content: Any, **attributes: Any) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        content: texts, which are escaped, and markup.
        attributes: ``class_`` is class, and underscores are dashes; one that is None or False is
            left out.
    """
    words = [
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    ]
    inside = "".join(map(escaped, content))
    return Markup(f"<{name}{''.join(words)}>{inside}</{name}>")


def joined(pieces: Iterable[Any]) -> Markup:
    """Return pieces behind each other."""
    return Markup("".join(map(escaped, pieces)))


def table(
    head: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "", numbers_from: int = 99
) -> Markup:
    """Return a table with headers; the first cell of each row heads it.

    Args:
        head: names of the columns.
        rows: of cells.
        caption: says what it shows.
        numbers_from: columns from here on are numbers, aligned at the right.
    """
    kind = ["n" if k >= numbers_from else None for k in range(len(head))]
    heads = joined(
        tag("th", name, scope="col", class_=c) for name, c in zip(head, kind, strict=True)
    )
    body = joined(
        tag("tr", tag("th", row[0], scope="row"),
            *(tag("td", cell, class_=c) for cell, c in zip(row[1:], kind[1:], strict=True)))
        for row in rows
    )  # fmt: skip
    about = tag("caption", caption) if caption else ""
    inside = tag("table", about, tag("thead", tag("tr", heads)), tag("tbody", body))
    return tag("div", inside, class_="scroll", tabindex="0", role="region",
               aria_label=caption or "table")  # fmt: skip


def script_data(content: Any) -> Markup:
    """Return JSON that may stand between script tags, whatever texts are in it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def number(value: float, digits: int = 3) -> str:
    """Return a number for a table; a dash where there is none."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def interval(low: float, high: float, digits: int = 3) -> str:
    """Return an interval for a table; a dash where there is none."""
    known = math.isfinite(low) and math.isfinite(high)
    return f"{number(low, digits)} to {number(high, digits)}" if known else "-"
