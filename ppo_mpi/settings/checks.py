"""Checks of single settings, and what may be said of a field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.schedules import value_at

RESUMABLE: dict[str, Any] = {"resumable": True}
"""Marks a field that may change when a run is resumed: it does not shape what was learned."""


def at_least(low: float, **values: float) -> None:
    """Refuse values below ``low``, by name."""
    for name, value in values.items():
        if not value >= low:
            raise ConfigError(f"{name}={value} is too small; use {low} or more")


def within(low: float, high: float, **values: float) -> None:
    """Refuse values outside of [low, high], by name."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ConfigError(f"{name}={value} is out of range; use {low} to {high}")


def positive(**values: float) -> None:
    """Refuse values that are not above 0, by name."""
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{name}={value} must be greater than 0")


def finite(**values: Any) -> None:
    """Refuse infinite numbers, by name, which no checkpoint may hold."""
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(
                    f"{name}={number} is not finite; use a large number, or leave it out"
                )


def schedules(**texts: str) -> None:
    """Refuse texts that are no schedule, by name."""
    for name, text in texts.items():
        try:
            value_at(1.0, text, 0.0)
        except ValueError as error:
            raise ConfigError(f"{name}={error}") from error


def range_or_empty(**values: Sequence[float]) -> None:
    """Refuse what is neither empty nor a lower and a higher number, by name."""
    for name, ends in values.items():
        if len(ends) and not (len(ends) == 2 and ends[0] < ends[1]):
            shown = " ".join(map(str, ends))
            raise ConfigError(f"{name}={shown} must be a lower and a higher number, such as -10 10")


def ascending(low: float, high: float, **values: Sequence[float]) -> None:
    """Refuse lists that do not ascend from above ``low`` up to ``high``, by name."""
    for name, places in values.items():
        chain = [low, *places]
        if any(not a < b <= high for a, b in zip(chain, chain[1:], strict=False)):
            shown = " ".join(map(str, places))
            raise ConfigError(f"{name}={shown} must ascend, from above {low} up to {high}")
