"""A terminal's screen, as far as the dashboard uses one."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n])")


class Screen:
    """All rows that were ever written, and where the cursor is; anything unknown is an error."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[str] = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        """Show ``text``, which may move the cursor and have colors."""
        position = 0
        while position < len(text):
            token = _TOKEN.match(text, position)
            if token is None:  # a color of several numbers
                token = re.compile(r"\x1b\[[\d;]*m").match(text, position)
                assert token is not None, f"unknown escape code in {text[position:][:20]!r}"
                position = token.end()
                continue
            position = token.end()
            number, code, start, end, letter = token.groups()
            if letter:
                self._put(letter)
            elif start:
                self.column = 0
            elif end:
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            else:
                self._escape(int(number or 1), code)

    def _put(self, letter: str) -> None:
        assert self.column < self.columns, f"a row is longer than {self.columns} columns"
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + letter + row[self.column + 1 :]
        self.column += 1

    def _escape(self, number: int, code: str) -> None:
        if code == "A":
            assert number <= self.row, "the cursor would leave the screen"
            self.row -= number
        elif code == "K":
            self.rows[self.row] = self.rows[self.row][: self.column]
        elif code == "J":
            self.rows = [*self.rows[: self.row], self.rows[self.row][: self.column]]
        else:
            assert code == "m", f"unknown escape code {code}"
