"""Runs the program with one fault built in: ``python faulty.py FAULT PLACE RANK NTH -- train ...``.

The fault happens on one rank (its number in the launched job) when it comes to a place for the
nth time; a file ``fault-happened`` in the working folder tells when. Nothing of this is in the
package itself: functions are replaced here before the program begins.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "fault-happened"


def mark() -> None:
    """Write down that the fault begins."""
    Path(MARK).write_text(repr(time.time()))


def flip_a_parameter(arguments: tuple[Any, ...]) -> None:
    """Flip one bit of the model that is about to be saved or compared."""
    import torch

    module = next(a for a in arguments if isinstance(a, torch.nn.Module))
    next(module.parameters()).data.view(torch.int32).flatten()[0] ^= 1


def raising(error: BaseException) -> Callable[..., None]:
    def fault(*arguments: Any) -> None:
        raise error

    return fault


def poison_a_gradient(arguments: tuple[Any, ...]) -> None:
    """Let this rank's share of the next step's gradient hold a NaN."""
    learner = arguments[0]
    gradients = learner.gradients
    message = gradients.message

    def poisoned() -> Any:
        gradients.message = message
        gradients.buffer[0] = float("nan")
        return message()

    gradients.message = poisoned


FAULTS: dict[str, Callable[..., None]] = {
    "exception": raising(RuntimeError("built-in fault")),
    "exit-0": raising(SystemExit(0)),
    "exit-3": raising(SystemExit(3)),
    "interrupt": raising(KeyboardInterrupt()),
    "memory": raising(MemoryError("built-in fault")),
    "sleep": lambda *arguments: time.sleep(1000),
    # PyDLL calls keep the interpreter's lock.
    "lock": lambda *arguments: ctypes.PyDLL(None).sleep(1000),
    "poison": lambda *arguments: poison_a_gradient(arguments),
    "flip": lambda *arguments: flip_a_parameter(arguments),
}

# Place -> "module:class.function" whose call is the place.
PLACES = {
    "collecting": "ppo_mpi.learning.actor:Actor.act",
    "updating": "ppo_mpi.learning.update:optimizer_step",
    "saving": "ppo_mpi.modes.saving:state_of",
    "logging": "ppo_mpi.modes.train:gather_episodes",
    "comparing": "ppo_mpi.distributed.communicator:Communicator.check_replicas",
}


def replace(place: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a function of the package by ``wrap`` of it."""
    import importlib

    module_name, _, path = PLACES[place].partition(":")
    owner: Any = importlib.import_module(module_name)
    *parts, name = path.split(".")
    for part in parts:
        owner = getattr(owner, part)
    setattr(owner, name, wrap(getattr(owner, name)))


def install(fault: str, place: str, nth: int) -> None:
    """Let the fault happen at the nth call of the place; ``slow`` from there on for a while."""
    calls = 0

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if fault == "slow" and calls >= nth:
                began = time.monotonic()
                result = function(*arguments, **keywords)
                if calls == nth:
                    mark()
                if calls < 3 * nth:  # three times slower
                    time.sleep(2 * (time.monotonic() - began))
                return result
            if calls == nth:
                mark()
                FAULTS[fault](*arguments)
            return function(*arguments, **keywords)

        return faulty

    replace(place, wrap)


def main() -> None:
    """Build the fault in, on its rank, and run the program."""
    end = sys.argv.index("--")
    fault, place, rank, nth = sys.argv[1:end]
    sys.argv = ["ppo_mpi", *sys.argv[end + 1 :]]
    from ppo_mpi.distributed.guard import launched_rank

    is_chosen = (launched_rank(os.environ) or 0) == int(rank)
    if is_chosen and place == "importing":
        sys.meta_path.insert(0, _FailingImport(fault))
    elif is_chosen:
        from ppo_mpi.distributed.signals import install_handlers

        install_handlers()  # what follows takes seconds
        install(fault, place, int(nth))
    from ppo_mpi.__main__ import main as program

    program()


class _FailingImport:
    """Lets the import of torch, the heaviest one, be the place of the fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Find nothing; fail where it is torch."""
        if name == "torch":
            mark()
            FAULTS[self.fault]()


if __name__ == "__main__":
    main()
