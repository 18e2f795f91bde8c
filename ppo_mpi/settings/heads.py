"""What an auxiliary head learns, and where it sits, as one word of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ppo_mpi.errors import ConfigError

SIDES = ("shared", "policy", "value")
"""Layers that policy and value share, the policy's own, the value's own."""
LARGEST_SIZE = 4096
_FORM = re.compile(
    r"(?P<name>[A-Za-z]\w{0,63}):(?P<kind>regression|classes)(:(?P<size>\d{1,6}))?"
    r"(@(?P<side>shared|policy|value)(\.(?P<depth>\d{1,3}))?)?",
    re.ASCII,
)
HOW = (
    "write name:kind:size@side.layer, such as distance:regression or room:classes:4@policy.2; kind "
    "is regression (of size numbers, 1 if left out) or classes (of which there are size), side is "
    "shared, policy or value, and without a layer the head sits behind the last one"
)


@dataclass(frozen=True)
class Head:
    """One auxiliary head."""

    name: str
    is_classes: bool
    """Whether it tells classes apart instead of giving numbers."""
    size: int
    """Numbers that it gives: those it regresses, or one logit for each class."""
    side: str
    """One of ``SIDES``; empty takes shared where policy and value share all layers, else policy."""
    depth: int | None
    """The layer of that side behind which it sits, from 1; None = behind all, memory included."""

    @property
    def width(self) -> int:
        """Numbers of its truth: a class is one."""
        return 1 if self.is_classes else self.size

    def side_in(self, shared_torso: bool) -> str:
        """Return the side on which it sits."""
        return self.side or ("shared" if shared_torso else "policy")


def parse_head(word: str) -> Head:
    """Read a head.

    Raises:
        ConfigError: the word is none.
    """
    found = _FORM.fullmatch(word)
    if found is None:
        raise ConfigError(f"auxiliary_heads={word!r} is no head; {HOW}")
    is_classes = found["kind"] == "classes"
    size = int(found["size"] or 0 if is_classes else found["size"] or 1)
    least = 2 if is_classes else 1
    if not least <= size <= LARGEST_SIZE:
        raise ConfigError(
            f"auxiliary_heads={word!r} has the size {size}; use {least} to {LARGEST_SIZE}, as in "
            f"{found['name']}:{found['kind']}:{max(least, 4)}"
        )
    depth = None if found["depth"] is None else int(found["depth"])
    if depth == 0:
        raise ConfigError(f"auxiliary_heads={word!r}: layers count from 1; {HOW}")
    return Head(found["name"], is_classes, size, found["side"] or "", depth)


def parse_heads(words: Sequence[str]) -> tuple[Head, ...]:
    """Read heads, each of another name.

    Raises:
        ConfigError: a word is none, or two have one name.
    """
    heads = tuple(map(parse_head, words))
    names = [head.name for head in heads]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"auxiliary_heads={' '.join(words)} has two heads of the name {name!r}; a name "
                "stands for one truth and one head"
            )
    return heads
