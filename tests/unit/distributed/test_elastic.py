"""Where the loss of a rank can be survived, and where that is refused before anything begins."""

from __future__ import annotations

import pytest

from ppo_mpi.distributed.elastic import FAULT_TOLERANT, check_support
from ppo_mpi.errors import ConfigError

OPEN_MPI = "Open MPI v5.0.11, package: Open MPI"


def test_open_mpi_under_its_fault_tolerant_launcher_is_accepted():
    check_support(OPEN_MPI, {FAULT_TOLERANT: "1"})


@pytest.mark.parametrize(
    ("library", "environ", "message"),
    [
        ("MPICH Version: 5.0.2", {FAULT_TOLERANT: "1"}, "needs Open MPI 5, and this is MPICH"),
        ("Open MPI v4.1.4", {FAULT_TOLERANT: "1"}, "needs Open MPI 5, and this is Open MPI v4"),
        (OPEN_MPI, {}, "mpirun --with-ft ulfm"),
        (OPEN_MPI, {FAULT_TOLERANT: "0"}, "mpirun --with-ft ulfm"),
    ],
)
def test_everything_else_is_refused_with_the_remedy(library: str, environ, message: str):
    with pytest.raises(ConfigError, match=message):
        check_support(library, environ)
