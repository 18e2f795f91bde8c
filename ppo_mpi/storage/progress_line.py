"""How far the job is, in one line: printed now and then, or drawn where a panel has no room."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from ppo_mpi.storage.time_parts import shares, time_parts

_PLAIN_SECONDS = 2.0
_BAR_COLUMNS = 20
_MIN_BAR_COLUMNS = 5


class PlainLines:
    """Prints lines without any escape code, for files, pipes and clusters; or warnings only."""

    def __init__(self, total_timesteps: int, is_off: bool = False) -> None:
        """Print nothing yet.

        Args:
            total_timesteps: of the whole job.
            is_off: whether warnings are all that is printed.
        """
        self._total = total_timesteps
        self._is_off = is_off
        self._shown_at: float | None = None
        self._pending = ""

    def update(
        self, iteration: int, timesteps: int, rate: float, columns: Mapping[str, float | None]
    ) -> None:
        """Show an iteration, every 2 seconds at most; the first and the last are always shown.

        Args:
            iteration: the iteration that has ended.
            timesteps: of the whole job, so far.
            rate: timesteps per second, lately.
            columns: the row of progress.csv.
        """
        if self._is_off:
            return
        self._pending = "  ".join(describe(iteration, timesteps, self._total, rate, columns))
        is_due = self._shown_at is None or time.monotonic() - self._shown_at >= _PLAIN_SECONDS
        if is_due or timesteps >= self._total:
            self._show()

    def recall(self, past: Mapping[str, Sequence[float]]) -> None:
        """Hear of earlier sessions, of which a line shows nothing."""

    def message(self, text: str, *, is_warning: bool = False) -> None:
        """Print lines; warnings go to standard error, even if off."""
        if is_warning or not self._is_off:
            print(text, file=sys.stderr if is_warning else sys.stdout, flush=True)

    def saved(self, name: str) -> None:
        """Hear of a checkpoint, which a line does not tell of."""

    def close(self) -> None:
        """Show the last iteration if it was not shown."""
        if self._pending:
            self._show()

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        print(self._pending, flush=True)
        self._pending = ""


def describe(
    iteration: int, timesteps: int, total: int, rate: float, columns: Mapping[str, float | None]
) -> list[str]:
    """Return the parts of the progress line, the most important first."""
    left = max(0, total - timesteps)
    parts = [
        f"{timesteps / total:4.0%}",
        f"{count_text(timesteps)}/{count_text(total)} timesteps",
        f"{rate:.0f}/s",
        f"ETA {clock_text(left / rate)}" if rate > 0 else "ETA ?",
    ]
    mean, test_mean = columns.get("mean_return"), columns.get("test_mean_return")
    test = "" if test_mean is None else f" (test {test_mean:.2f})"
    parts.append("no episode finished yet" if mean is None else f"return {mean:.2f}")
    parts[-1] += test
    spent = shares(time_parts(columns)).items()
    if spent:
        parts.append(" ".join(f"{name} {share:.0%}" for name, share in spent if share > 0))
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


def count_text(number: int) -> str:
    """Return a large number in few letters: 1.25M."""
    for unit, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:.4g}{letter}"
    return str(number)


def clock_text(seconds: float) -> str:
    """Return a time as hours:minutes:seconds, or minutes:seconds."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
