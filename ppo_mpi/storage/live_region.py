"""Lines at the end of a terminal's output that are drawn over in place.

Only cursor movements that every terminal since the VT100 has. The cursor stays visible and waits
in the line below, so that whatever else is printed, and a job that is killed, leaves all in order.
"""

from __future__ import annotations

import sys

_TO_END_OF_LINE = "\x1b[K"
_BELOW = "\x1b[J"


class LiveRegion:
    """Draws lines over the ones that it has drawn before."""

    def __init__(self) -> None:
        self._widths: list[int] = []
        self.is_broken = False
        """Whether the terminal is gone: nothing is drawn any more."""

    def draw(self, above: list[str], lines: list[tuple[str, int]], columns: int) -> None:
        """Replace what was drawn.

        Args:
            above: lines that are written once, and stay above from now on.
            lines: each with its width on the screen, which is at most ``columns - 1``; they may
                have colors.
            columns: of the terminal, now.
        """
        text = self._to_top(columns)
        for line in (*above, *(line for line, _ in lines)):
            text += f"{line}{_TO_END_OF_LINE}\n"
        self._widths = [width for _, width in lines]
        self._write(text + _BELOW)

    def leave(self) -> None:
        """Let what was drawn stand; the next lines are drawn below it."""
        self._widths = []

    def _to_top(self, columns: int) -> str:
        # A terminal that has become narrower has wrapped the lines.
        rows = sum(max(1, -(-width // max(1, columns))) for width in self._widths)
        return f"\r\x1b[{rows}A" if rows else "\r"

    def _write(self, text: str) -> None:
        if self.is_broken:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, UnicodeEncodeError):  # a closed window must not end the training
            self.is_broken = True
