"""The dashboard at a terminal: when it is drawn, and what stands around it.

It is drawn by the loop of rank 0, some times a second at most; there is no thread. Messages stand
below the panel until newer ones need the room, and then above it.
"""

from __future__ import annotations

import io
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TextIO, cast

from rich.console import Console

from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.storage.live_region import LiveRegion
from ppo_mpi.storage.panel import LEAST_COLUMNS, LEAST_ROWS, View, panel, rendered
from ppo_mpi.storage.progress_line import describe, live_line
from ppo_mpi.storage.sparkline import BLOCKS, History
from ppo_mpi.storage.terminal import errors_share_terminal
from ppo_mpi.storage.time_parts import shares, time_parts

REDRAW_SECONDS = 0.5
MOST_NOTES = 6
"""Rows of messages below the panel."""
_NEWEST_WEIGHT = 0.2  # smooths the shares of the time


class Dashboard:
    """Shows how a job fares. Escape codes go to standard output, which is a terminal."""

    def __init__(
        self,
        title: str,
        total_timesteps: int,
        heart: Heart,
        hosts: Sequence[str],
        wall_seconds: Callable[[], float],
        size: Callable[[], tuple[int, int] | None],
    ) -> None:
        """Begin with an empty panel, which appears with the first iteration.

        Args:
            title: of the panel.
            total_timesteps: of the whole job.
            heart: of rank 0, whose beats let the panel be drawn anew.
            hosts: of each rank.
            wall_seconds: tells the run's wall clock, of all its sessions.
            size: tells the terminal's columns and rows; windows change theirs.
        """
        self._view = View(title, total_timesteps, hosts=hosts)
        self._heart, self._wall_seconds, self._size = heart, wall_seconds, size
        self._region = LiveRegion()
        self._returns = {"mean_return": History(), "test_mean_return": History()}
        self._seconds: dict[str, float] = {}
        self._notes: list[str] = []
        self._logged_at = time.monotonic()
        self._due_at = 0.0
        self._saved: tuple[str, float] | None = None
        self._is_begun = False
        self._lock = threading.RLock()  # threads that step environments may have to say something
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        self._is_ascii = not _can_encode(BLOCKS + "█░■╭", encoding)
        self._errors_elsewhere = not errors_share_terminal()
        self._stderr = sys.stderr
        sys.stderr = cast(TextIO, _Lines(self._stderr, self._from_stderr))
        heart.pulse = self.tick

    def update(
        self, iteration: int, timesteps: int, rate: float, columns: Mapping[str, float | None]
    ) -> None:
        """Take in an iteration that has ended; arguments as of ``ProgressLine.update``."""
        for name, seconds in time_parts(columns).items():
            old = self._seconds.get(name, seconds)
            self._seconds[name] = old + _NEWEST_WEIGHT * (seconds - old)
        for name, history in self._returns.items():
            history.add(columns.get(name))
        self._logged_at = time.monotonic()
        self._view = replace(
            self._view,
            iteration=iteration,
            timesteps=timesteps,
            rate=rate,
            row=columns,
            shares=shares(self._seconds),
            returns={name: history.points for name, history in self._returns.items()},
        )
        if not self._is_begun or timesteps >= self._view.total:
            self._is_begun, self._due_at = True, 0.0
        self.tick()

    def recall(self, past: Mapping[str, Sequence[float]]) -> None:
        """Take in column -> values of the run's earlier sessions, which its curves begin with."""
        for name, values in past.items():
            for value in values:
                self._returns[name].add(value)

    def tick(self) -> None:
        """Draw if it is time; called at every step of an environment."""
        now = time.monotonic()
        if now < self._due_at:
            return
        self._is_begun = self._is_begun or self._heart.iteration > 0
        if self._is_begun and not self._is_interrupted:
            self._draw()
            # Not less than so long, and however slow the terminal is, a hundredth of the time.
            self._due_at = now + max(REDRAW_SECONDS, 100 * (time.monotonic() - now))

    def message(self, text: str, *, is_warning: bool = False) -> None:
        """Show lines below the panel; warnings also on standard error if that is elsewhere."""
        with self._lock:
            is_told = is_warning and (self._errors_elsewhere or not self._is_begun)
            if is_told:
                print(text, file=self._stderr, flush=True)
            if self._is_begun:
                self._notes += text.split("\n")
                self._due_at = 0.0
                self.tick()
            elif not is_told:
                print(text, flush=True)

    def saved(self, name: str) -> None:
        """Hear of a checkpoint."""
        self._saved = (name, time.monotonic())

    def close(self) -> None:
        """Draw the last state; it stays, and what is printed next stands below it."""
        if self._heart.pulse == self.tick:
            self._heart.pulse = None
        if isinstance(sys.stderr, _Lines):
            sys.stderr = self._stderr
        if self._is_begun:
            if self._is_interrupted:
                self._region.leave()
            self._draw(is_last=True)
            self._region.leave()
        self._is_begun = False

    def _from_stderr(self, line: str) -> None:
        self.message(line, is_warning=True)

    @property
    def _is_interrupted(self) -> bool:
        """Whether Ctrl-C came: the terminal has moved on, by ^C and by what launchers say of it.

        Nobody knows how far, so the panel is drawn once more, below, when all is over.
        """
        return STOP.signal_name == "SIGINT"

    def _draw(self, is_last: bool = False) -> None:
        size = self._size() or (80, 24)
        console = Console(
            file=io.StringIO(), force_terminal=True, width=size[0], legacy_windows=False
        )
        lines = self._panel_lines(size, console, is_last)
        room = max(1, min(MOST_NOTES, size[1] - 1 - len(lines)))
        above: list[str] = []
        below = [_wrapped(note, size[0] - 1) for note in self._notes]
        while sum(map(len, below)) > room:  # the oldest messages go up, as wholes
            above += below.pop(0)
            self._notes.pop(0)
        rows = [(row, len(row)) for note in below for row in note]
        self._region.draw(above, lines + rows, size[0])

    def _panel_lines(
        self, size: tuple[int, int], console: Console, is_last: bool
    ) -> list[tuple[str, int]]:
        now = time.monotonic()
        saved = ""
        if self._saved is not None:
            name, at = self._saved
            saved = f"checkpoint {name}, {now - at:.0f} s ago"
        view = replace(
            self._view,
            elapsed_seconds=self._wall_seconds(),
            since_seconds=now - self._logged_at,
            activity="" if is_last else self._heart.phase,
            checkpoint=saved,
        )
        if size[0] < LEAST_COLUMNS or size[1] < LEAST_ROWS:
            parts = describe(view.iteration, view.timesteps, view.total, view.rate, view.row)
            line = live_line(parts, view.timesteps / view.total, size[0] - 1)
            return [(line, len(line))]
        rows = size[1] - 2 - bool(self._notes) * 2
        return rendered(panel(view, size[0], rows, self._is_ascii, not console.no_color), console)


class _Lines(io.TextIOBase):
    """Standard error while the panel is there: whole lines are handed on as messages."""

    def __init__(self, real: TextIO, take: Callable[[str], None]) -> None:
        self._real, self._take = real, take
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the real one."""
        return self._real.encoding

    def fileno(self) -> int:
        """Return the real one's, for libraries that write by it."""
        return self._real.fileno()

    def isatty(self) -> bool:
        """Return what the real one says."""
        return self._real.isatty()

    def write(self, text: str) -> int:
        """Hand on the lines that are complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)


def _wrapped(text: str, columns: int) -> list[str]:
    """Return a message in rows; what has no blanks is cut, tabs and escape codes are dropped."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return textwrap.wrap(clean, max(10, columns), subsequent_indent="  ") or [""]


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
