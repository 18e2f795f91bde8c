"""Random numbers that belong to a level: the same wherever and whenever it is played."""

from __future__ import annotations

import zlib

MASK = 2**64 - 1


class LevelDraws:
    """A stream of numbers for one purpose in one level.

    It costs a microsecond, where a generator of numpy's costs a hundred.

    Source:
        Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", the
        generator SplitMix64.
    """

    def __init__(self, level: int, what: str) -> None:
        """Begin the stream.

        Args:
            level: >= 0.
            what: the purpose; its CRC-32 is part of the key.
        """
        self._state = (zlib.crc32(what.encode()) << 32 ^ level) & MASK

    def below(self, count: int) -> int:
        """Return a whole number in [0, count), all as likely to within ``count`` / 2**64."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        bits = self._state
        bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & MASK
        bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & MASK
        return (bits ^ bits >> 31) * count >> 64

    def some_of(self, things: list[int], count: int) -> list[int]:
        """Return ``count`` different things in random order.

        Args:
            things: at least as many.
            count: how many are drawn.
        """
        left = list(things)
        return [left.pop(self.below(len(left))) for _ in range(count)]
