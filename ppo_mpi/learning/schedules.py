"""How a setting changes with the progress of the whole job; the mathematics and its one text form.

Progress is counted over the whole job, so that the number of ranks cannot change a schedule.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

FORMS = (
    "constant, linear[:END][@AT], log[:END][@AT], cosine[:END][@AT], one_cycle[:END][@AT] or "
    "piecewise:AT=VALUE,AT=VALUE,... (END and VALUE are numbers, or multiples of the start such "
    "as 0.1x; AT is a progress from 0 to 1)"
)
LOG_STEPS = 1000
"""Steps of the logarithm's schedule: the first of them goes a tenth of the way."""
ONE_CYCLE_PEAK = 0.3
ONE_CYCLE_DIVISOR = 25.0
"""Both as torch's OneCycleLR has them unless told otherwise."""

_TEXT = re.compile(r"(?P<kind>[a-z_]+)(:(?P<end>[^@]+))?(@(?P<at>.+))?", re.DOTALL)


def value_at(start: float, schedule: str, progress: float, end: float = 0.0) -> float:
    """Return a setting's value. With x = min(1, progress / AT):

        constant    start
        linear      start + (END - start) * x
        log         start + (END - start) * ln(1 + (N - 1) * x) / ln(N),  N = LOG_STEPS
        cosine      END + (start - END) * (1 + cos(pi * x)) / 2
        one_cycle   linear from start / 25 to start at AT, and from there to END at 1
        piecewise   start; from each AT on, the VALUE behind it

    Args:
        start: its value without a schedule.
        schedule: as in ``FORMS``; AT is 1 unless given (one_cycle: 0.3).
        progress: share of total_timesteps that is done, in [0, 1].
        end: END where the schedule names none.

    Raises:
        ValueError: the schedule's text is none of the forms.

    Source:
        log: the LogDecrementer of "PPO And Friends", which takes as N the iterations until the
        end is reached. one_cycle: Smith and Topin 2017, arXiv:1708.07120, with linear sides.
    """
    kind, last, at, points = _parsed(schedule)
    if kind == "constant":
        return start
    if kind == "piecewise":
        passed = [value for place, value in points if place <= progress]
        return _number(passed[-1], start) if passed else start
    goal = end if last is None else _number(last, start)
    if kind == "one_cycle":
        if progress < at:
            low = start / ONE_CYCLE_DIVISOR
            return low + (start - low) * (progress / at)
        return start + (goal - start) * ((progress - at) / (1 - at))
    x = min(1.0, progress / at)
    if kind == "linear":
        return start + (goal - start) * x
    if kind == "log":
        return start + (goal - start) * math.log(1 + (LOG_STEPS - 1) * x) / math.log(LOG_STEPS)
    return goal + (start - goal) * (1 + math.cos(math.pi * x)) / 2


def _parsed(schedule: str) -> tuple[str, str | None, float, list[tuple[float, str]]]:
    """Return kind, END, AT, and the points of a piecewise schedule; raise ValueError."""
    match = _TEXT.fullmatch(schedule)
    if match is None:
        raise _refused(schedule)
    kind, end, at = match["kind"], match["end"], match["at"]
    points: list[tuple[float, str]] = []
    if kind == "constant" and end is None and at is None:
        return kind, None, 1.0, points
    if kind == "piecewise" and end is not None and at is None:
        for item in end.split(","):
            place, _, value = item.partition("=")
            points.append((_place(place, schedule), _checked(value, schedule)))
        if any(a[0] >= b[0] for a, b in zip(points, points[1:], strict=False)):
            raise _refused(schedule)
        return kind, None, 1.0, points
    if kind not in ("linear", "log", "cosine", "one_cycle"):
        raise _refused(schedule)
    where = ONE_CYCLE_PEAK if kind == "one_cycle" else 1.0
    if at is not None:
        where = _place(at, schedule)
    # What goes down at progress 0, or up until the very end, leaves nothing to interpolate.
    if where == (1.0 if kind == "one_cycle" else 0.0):
        raise _refused(schedule)
    return kind, None if end is None else _checked(end, schedule), where, points


def _place(text: str, schedule: str) -> float:
    try:
        place = float(text)
    except ValueError:
        raise _refused(schedule) from None
    if not 0 <= place <= 1:
        raise _refused(schedule)
    return place


def _checked(text: str, schedule: str) -> str:
    """Return the text of an END or VALUE, if it is one."""
    try:
        number = _number(text, 1.0)
    except ValueError:
        raise _refused(schedule) from None
    if not 0 <= number < math.inf:
        raise _refused(schedule)
    return text


def _number(text: str, start: float) -> float:
    return float(text[:-1]) * start if text.endswith("x") else float(text)


def _refused(schedule: str) -> ValueError:
    return ValueError(f"{schedule!r} is no schedule; use {FORMS}")


def continues_episodes(
    soft_resets: str, soft_resets_from: float, progress: float, switches: Sequence[float] = ()
) -> bool:
    """Return whether a rollout continues the episodes where the last one stopped.

    Args:
        soft_resets: ``"on"``, ``"off"`` or ``"scheduled"``.
        soft_resets_from: the progress from which scheduled ones are on.
        progress: share of total_timesteps that is done, in [0, 1].
        switches: later places of progress, ascending, where they go off, on again, and so on.
    """
    if soft_resets != "scheduled":
        return soft_resets == "on"
    passed = sum(place <= progress for place in (soft_resets_from, *switches))
    return passed % 2 == 1
