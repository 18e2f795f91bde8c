"""What the benchmarks are told: the options they share, and how values are read."""

from __future__ import annotations

import argparse
from pathlib import Path

ROUNDS = 3
"""How often several jobs take turns, if there are as many iterations."""


def new_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser that leaves what it does not know to ``train``."""
    return argparse.ArgumentParser(
        description=description,
        epilog="All other options are settings of train, for example --num-envs 128.",
        allow_abbrev=False,
    )


def add_job_options(parser: argparse.ArgumentParser, preset: str) -> None:
    """Add what says which job is measured, and where the figures go.

    Args:
        parser: gets the options.
        preset: default of ``--preset``.
    """
    parser.add_argument("--env", default="coinrun")
    parser.add_argument("--preset", default=preset, help=f"gives the shapes ({preset})")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--json", type=Path, help="file for the figures and the machine's data")


def add_turn_options(parser: argparse.ArgumentParser) -> None:
    """Add how many iterations are measured, and in how many turns."""
    parser.add_argument("--iterations", type=positive, default=5, help="measured, for each job (5)")
    parser.add_argument("--warmup", type=whole, default=1, help="iterations before those (1)")
    parser.add_argument("--rounds", type=positive, help="how often several jobs take turns (3)")


def train_words(options: argparse.Namespace, words: list[str]) -> tuple[str, ...]:
    """Return the command line of ``train``; what was typed further back wins.

    Args:
        options: with those of ``add_job_options``.
        words: further settings as they were typed.
    """
    named = ("--preset", options.preset, "--precision", options.precision)
    return ("train", options.env, *named, *words)


def whole(text: str) -> int:
    """Read a number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on; write such as 2")
    return int(text)


def positive(text: str) -> int:
    """Read a number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on; write such as 2")
    return int(text)


def rank_counts(text: str) -> list[int]:
    """Read numbers of ranks, separated by commas."""
    return [positive(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    """Read names, separated by commas; each counts once."""
    found = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name; write such as coinrun,maze")
    return found


def shares(iterations: int, rounds: int) -> list[int]:
    """Deal the iterations to the rounds; every round has one at least."""
    rounds = min(rounds, iterations)
    return [iterations // rounds + (i < iterations % rounds) for i in range(rounds)]
