"""A program for ranks: trains several runs one after the other in one process.

``mpirun -np 3 python tests/faults/train_several.py jobs.json``: the file holds a list of the words
that follow ``python -m ppo_mpi train``. Most of a small job is its start: sixteen games in one
process take a fifth of the time of sixteen processes. Ends with status 0 only if every run did.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ppo_mpi.__main__ import silence_libraries
from ppo_mpi.cli import parse_command
from ppo_mpi.distributed.communicator import connect
from ppo_mpi.distributed.signals import install_handlers
from ppo_mpi.modes.train import train_command

HANG_TIMEOUT_SECONDS = 60.0
"""Longest wait for another rank: a rank that fails leaves the others waiting."""


def main() -> int:
    """Train what the file says; every rank reads it."""
    install_handlers()
    silence_libraries()
    comm = connect(HANG_TIMEOUT_SECONDS)  # collective
    for words in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        command = parse_command(["train", *words])
        given = command.given | {"clobber": command.clobber}
        status = train_command(command.config, given, comm)  # collective
        if status:
            return int(status)
    comm.finish(0)  # collective
    return 0


if __name__ == "__main__":
    sys.exit(main())
