"""The progress on the console: one live line at a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Literal

from ppo_mpi.storage.terminal import terminal_size

_REDRAW_SECONDS = 0.25
_PLAIN_SECONDS = 2.0
_BAR_COLUMNS = 20
_MIN_BAR_COLUMNS = 5
_CLEAR_LINE = "\r\x1b[K"
_PHASES = {"collect_seconds": "collect", "update_seconds": "update", "communication_seconds": "MPI"}


class ProgressLine:
    """Shows how far the job is. Only the live line uses escape codes, only at a terminal."""

    def __init__(self, display: Literal["auto", "plain", "off"], total_timesteps: int) -> None:
        """Choose the form: ``auto`` draws a live line if the real output is a terminal."""
        self._total = total_timesteps
        self._is_off = display == "off"
        self._is_live = display == "auto" and terminal_size() is not None
        self._shown_at: float | None = None
        self._parts: list[str] = []
        self._progress = 0.0
        self._is_pending = False

    def update(
        self, iteration: int, timesteps: int, rate: float, columns: Mapping[str, float | None]
    ) -> None:
        """Show an iteration: a live line at most 4 times a second, plain lines every 2 seconds.

        The first iteration and the last are always shown.

        Args:
            iteration: the iteration that has ended.
            timesteps: of the whole job, so far.
            rate: timesteps per second, lately.
            columns: the row of progress.csv; collect_seconds, update_seconds and
                communication_seconds, if there, are times apart from each other.
        """
        if self._is_off:
            return
        self._parts = describe(iteration, timesteps, self._total, rate, columns)
        self._progress = timesteps / self._total
        self._is_pending = True
        wait = _REDRAW_SECONDS if self._is_live else _PLAIN_SECONDS
        is_due = self._shown_at is None or time.monotonic() - self._shown_at >= wait
        if is_due or timesteps >= self._total:
            self._show()

    def message(self, text: str, *, is_warning: bool = False) -> None:
        """Print lines above the live line; warnings go to standard error, even if off."""
        if self._is_off and not is_warning:
            return
        if self._is_live and self._parts:
            sys.stdout.write(_CLEAR_LINE)
            sys.stdout.flush()
        print(text, file=sys.stderr if is_warning else sys.stdout, flush=True)
        if self._is_live and self._parts:
            self._show()

    def close(self) -> None:
        """Show the last state if it was not shown, and leave the cursor on a fresh line."""
        if self._is_pending:
            self._show()
        if self._is_live and self._parts:
            print(flush=True)
        self._parts = []

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        self._is_pending = False
        if not self._is_live:
            print("  ".join(self._parts), flush=True)
            return
        columns, _ = terminal_size() or (80, 24)  # asked anew: windows change their size
        sys.stdout.write(_CLEAR_LINE + live_line(self._parts, self._progress, columns - 1))
        sys.stdout.flush()


def describe(
    iteration: int, timesteps: int, total: int, rate: float, columns: Mapping[str, float | None]
) -> list[str]:
    """Return the parts of the progress line, the most important first."""
    left = max(0, total - timesteps)
    parts = [
        f"{timesteps / total:4.0%}",
        f"{_count(timesteps)}/{_count(total)} timesteps",
        f"{rate:.0f}/s",
        f"ETA {_clock(left / rate)}" if rate > 0 else "ETA ?",
    ]
    mean, test_mean = columns.get("mean_return"), columns.get("test_mean_return")
    test = "" if test_mean is None else f" (test {test_mean:.2f})"
    parts.append("no episode finished yet" if mean is None else f"return {mean:.2f}")
    parts[-1] += test
    spent = {name: columns.get(key) or 0.0 for key, name in _PHASES.items() if key in columns}
    if sum(spent.values()) > 0:
        whole = sum(spent.values())
        parts.append(" ".join(f"{name} {value / whole:.0%}" for name, value in spent.items()))
    parts.append(f"iteration {iteration}")
    return parts


def live_line(parts: list[str], progress: float, columns: int) -> str:
    """Return the parts that fit, behind a bar that takes what room they leave."""
    text = fit(parts, columns)
    room = min(_BAR_COLUMNS, columns - len(text) - len("[]  "))
    return f"{progress_bar(progress, room)}  {text}" if room >= _MIN_BAR_COLUMNS else text


def progress_bar(progress: float, columns: int) -> str:
    """Return a bar of plain ASCII, which every terminal and encoding shows."""
    full = min(columns, int(columns * progress))
    return f"[{'#' * full}{'.' * (columns - full)}]"


def fit(parts: list[str], columns: int) -> str:
    """Join as many of the parts as fit in ``columns``; a wrapped line could not be redrawn."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > columns:
            break
        line = longer
    return line or parts[0][:columns]


def _count(number: int) -> str:
    for unit, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:.4g}{letter}"
    return str(number)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
