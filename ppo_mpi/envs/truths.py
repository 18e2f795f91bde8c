"""What environments tell beside observations and rewards: truths for auxiliary heads, a bonus.

Axes: B environments on this rank; W numbers of all truths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.heads import Head

AUXILIARY = "auxiliary"
BONUS = "bonus_reward"


@dataclass(frozen=True)
class Told:
    """What an environment is asked to tell in the info of its resets and steps."""

    heads: tuple[Head, ...] = ()
    """Truths that are looked for."""
    bonus: bool = False
    """Whether bonus rewards are."""

    @property
    def width(self) -> int:
        """W."""
        return sum(head.width for head in self.heads)

    def truths(self, info: Mapping[str, Any], env: str) -> np.ndarray:
        """Return an observation's truths, [W] float32; NaN where they are not known.

        Args:
            info: what came with the observation. Its "auxiliary" is a dict by the heads' names, or
                a list in their order; None, NaN and the class -1 stand for what is not known.
            env: for messages.

        Raises:
            ConfigError: a truth is no number, or of another size, or no class of its head.
        """
        row = np.full(self.width, np.nan, np.float32)
        told = info.get(AUXILIARY)
        if told is None:
            return row
        if not isinstance(told, Mapping):
            told = self._by_name(told, env)
        start = 0
        for head in self.heads:
            if told.get(head.name) is not None:
                row[start : start + head.width] = _checked(head, told[head.name], env)
            start += head.width
        return row

    def bonus_of(self, info: Mapping[str, Any], env: str) -> float:
        """Return a step's bonus reward; 0 where there is none.

        Raises:
            ConfigError: it is no finite number.
        """
        try:
            bonus = float(info.get(BONUS, 0.0))
        except (TypeError, ValueError):
            bonus = math.nan
        if not math.isfinite(bonus):
            raise ConfigError(
                f'{env} gave info["{BONUS}"]={info[BONUS]!r}, which is no finite number; mend it, '
                "or use bonus_rewards=false"
            )
        return bonus

    def _by_name(self, told: Any, env: str) -> dict[str, Any]:
        is_list = isinstance(told, (list, tuple, np.ndarray))
        if is_list and len(told) == len(self.heads):
            return {head.name: x for head, x in zip(self.heads, told, strict=True)}
        names = ", ".join(head.name for head in self.heads)
        raise ConfigError(
            f'{env} gave info["{AUXILIARY}"]={str(told)[:80]}, which is neither a dict by the '
            f"names of the auxiliary heads ({names}) nor a list of {len(self.heads)} truths in "
            "their order"
        )


def _checked(head: Head, truth: Any, env: str) -> np.ndarray:
    """Return a truth's numbers [width] float32.

    Raises:
        ConfigError: it does not fit its head.
    """
    whose = f"{env} gave the truth {head.name}={str(truth)[:80]}"
    try:
        numbers = np.asarray(truth, np.float32).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{whose}, which is no number; mend the environment") from error
    if len(numbers) != head.width:
        raise ConfigError(
            f"{whose}, {len(numbers)} numbers, but its head learns "
            f"{head.width}; use auxiliary_heads {head.name}:regression:{len(numbers)}, or mend the "
            "environment"
        )
    if np.isinf(numbers).any():
        raise ConfigError(f"{whose}, which is infinite; use NaN for what is not known")
    if head.is_classes:
        (number,) = numbers
        if number == -1:
            return np.full(1, np.nan, np.float32)
        if not np.isnan(number) and not (0 <= number < head.size and number == int(number)):
            raise ConfigError(
                f"{whose}, which is none of its {head.size} classes, 0 to {head.size - 1}; use "
                f"auxiliary_heads {head.name}:classes:N with a larger N, or mend the environment"
            )
    return numbers


def truths_for_json(truths: np.ndarray) -> list[float | None]:
    """Return [W] numbers for JSON, which has no NaN."""
    return [None if math.isnan(x) else x for x in truths.tolist()]


def truths_from_json(numbers: Any, width: int) -> np.ndarray:
    """Return what ``truths_for_json`` was given, [W] float32.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(numbers, list) or len(numbers) != width:
        raise ValueError(f"its truths are not {width} numbers")
    if not all(x is None or type(x) in (int, float) for x in numbers):
        raise ValueError("there is something else among its truths")
    found = np.array([math.nan if x is None else x for x in numbers], np.float32)
    if np.isinf(found).any():
        raise ValueError("a truth of it is infinite")
    return found
