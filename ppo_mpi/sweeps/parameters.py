"""What a search tries: lists and ranges of values, grids of them, and draws from them.

Values are words as on the command line, so that they mean in a search what they mean there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from ppo_mpi.errors import ConfigError
from ppo_mpi.seeding import generator

Words = tuple[str, ...]
"""A setting's value; one word for everything but lists."""

DIGITS = 4
"""Significant digits of a number that is drawn: more would change nothing but names of folders."""
MOST_STEPS = 10_000
"""Values of a range with a step; more are taken for an error in it."""


@dataclass(frozen=True)
class Choices:
    """A setting that takes one of some values."""

    name: str
    values: tuple[Words, ...]

    def listed(self) -> tuple[Words, ...]:
        """Return the values, in the order of the file."""
        return self.values

    def draw(self, seed: int, trial: int) -> Words:
        """Return a random trial's value; each is as likely as the others."""
        return self.values[int(stream(seed, self.name, trial).integers(len(self.values)))]


@dataclass(frozen=True)
class Range:
    """A setting that takes numbers between two bounds, which belong to it."""

    name: str
    low: Decimal
    high: Decimal
    is_log: bool
    """Whether equal factors, not equal differences, are equally likely."""
    is_whole: bool
    """Whether the setting is a whole number."""
    step: Decimal | None = None
    """From one value to the next: a difference, on a logarithmic scale a factor; None = all."""

    def listed(self) -> tuple[Words, ...]:
        """Return the values of a range with a step, rising.

        Raises:
            ConfigError: it has none.
        """
        if self.step is None:
            raise ConfigError(
                f"{self.name} has a range without a step, which a grid cannot walk through; give a "
                "step or a list, or use method: random"
            )
        values, value = [], self.low
        while value <= self.high:
            values.append((plain(value),))
            value = value * self.step if self.is_log else value + self.step
        return tuple(values)

    def draw(self, seed: int, trial: int) -> Words:
        """Return a random trial's value."""
        random = stream(seed, self.name, trial)
        if self.step is not None:
            values = self.listed()
            return values[int(random.integers(len(values)))]
        low, high = float(self.low), float(self.high)
        # A whole number stands for all up to the next, so that the highest is as likely as others.
        end = high + 1 if self.is_whole else high
        if self.is_log:
            value = math.exp(random.uniform(math.log(low), math.log(end)))
        else:
            value = random.uniform(low, end)
        return self.word(value)

    def word(self, value: float) -> Words:
        """Return a number of this range as it is typed: whole, or with four digits that count."""
        if self.is_whole:
            return (str(min(max(math.floor(value), int(self.low)), int(self.high))),)
        short = Decimal(f"{value:.{DIGITS}g}")
        return (plain(min(max(short, self.low), self.high)),)


Parameter = Choices | Range


def stream(seed: int, name: str, trial: int) -> np.random.Generator:
    """Return the random stream of one setting of one trial.

    It depends on nothing else: another setting more or less, the number of trials, and the order
    in which they are run leave it as it is.
    """
    return generator(seed, f"sweep {name}", trial)


def grid(parameters: Sequence[Parameter]) -> Iterator[dict[str, Words]]:
    """Yield every combination, in the order of the file: the last setting changes fastest."""
    for values in itertools.product(*(parameter.listed() for parameter in parameters)):
        yield {p.name: value for p, value in zip(parameters, values, strict=True)}


def random_values(parameters: Sequence[Parameter], seed: int, trial: int) -> dict[str, Words]:
    """Return what a trial of a random search takes: a function of ``seed`` and its number."""
    return {parameter.name: parameter.draw(seed, trial) for parameter in parameters}


def corners(parameters: Sequence[Parameter]) -> Iterator[dict[str, Words]]:
    """Yield combinations in which one setting after the other takes its first and last value.

    What cannot be of a single setting shows in one of them, before anything is drawn.
    """
    ends = {p.name: _ends(p) for p in parameters}
    middle: Mapping[str, Words] = {name: words[0] for name, words in ends.items()}
    for name, words in ends.items():
        for word in words:
            yield {**middle, name: word}


def _ends(parameter: Parameter) -> tuple[Words, ...]:
    if isinstance(parameter, Choices):
        return parameter.values
    return ((plain(parameter.low),), (plain(parameter.high),))


def checked_range(parameter: Range) -> Range:
    """Return the range if it is one.

    Raises:
        ConfigError: its bounds are the wrong way round, its scale or its step cannot be.
    """
    name, low, high, step = parameter.name, parameter.low, parameter.high, parameter.step
    if not low < high:
        raise ConfigError(f"{name}: min={plain(low)} must be smaller than max={plain(high)}")
    if parameter.is_log and low <= 0:
        raise ConfigError(f"{name}: min={plain(low)} has no logarithm; use scale: linear, or a "
                          "min above 0")  # fmt: skip
    if parameter.is_whole and any(n % 1 for n in (low, high, step or Decimal(1))):
        raise ConfigError(f"{name} is a whole number, and so must min, max and step be")
    if step is None:
        return parameter
    least = 1 if parameter.is_log else 0
    if step <= least:
        what = "a factor on a logarithmic scale" if least else "a difference"
        raise ConfigError(f"{name}: step={plain(step)} must be greater than {least}: it is {what}")
    steps = (high / low).ln() / step.ln() if parameter.is_log else (high - low) / step
    if steps > MOST_STEPS:
        raise ConfigError(f"{name}: step={plain(step)} makes more than {MOST_STEPS:,} values; use "
                          "a larger one, or none")  # fmt: skip
    return parameter


def plain(number: Decimal) -> str:
    """Return a number as short as can be: 0.001, 1e-5, 100000."""
    if number == number.to_integral_value() and abs(number) < 10**15:
        return str(int(number))
    return repr(float(number)).replace("e-0", "e-")
