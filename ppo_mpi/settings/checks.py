"""Checks of single settings, and what may be said of a field."""

from __future__ import annotations

from typing import Any

from ppo_mpi.errors import ConfigError

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
