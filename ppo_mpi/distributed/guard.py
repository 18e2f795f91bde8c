"""Did the ranks that a launcher started find each other?

A launcher of another MPI, or srun with the wrong ``--mpi``, starts N jobs of one rank each. All
would believe they are rank 0, train the same, and write the same folder.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppo_mpi.errors import ConfigError

# Launcher -> (variable with the rank, variable with the number of ranks).
LAUNCHER_VARIABLES = {
    "Open MPI's mpirun": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "MPICH's mpirun": ("PMI_RANK", "PMI_SIZE"),
    "MVAPICH's mpirun": ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    "a PALS launcher": ("PALS_RANKID", "PALS_SIZE"),
    "a PMIx launcher": ("PMIX_RANK", "PMIX_SIZE"),
}


def _in_srun_step(environ: Mapping[str, str]) -> bool:
    # Inside sbatch and salloc the batch shell has SLURM_PROCID=0 too, and a plain python there is
    # one rank; only a step that srun started has a step id that is a number.
    return environ.get("SLURM_STEP_ID", "").isdigit() and "SLURM_PROCID" in environ


def launched_rank(environ: Mapping[str, str]) -> int | None:
    """Return this process's rank as its launcher tells it; None without a launcher.

    Good for deciding whether to start MPI and who prints before it is started, and for no more:
    under mpirun inside sbatch some of these variables are the same on every rank.
    """
    for rank_variable, _ in LAUNCHER_VARIABLES.values():
        if environ.get(rank_variable, "").isdigit():
            return int(environ[rank_variable])
    if _in_srun_step(environ):
        return int(environ["SLURM_PROCID"])
    return None


def launched_world_size(environ: Mapping[str, str]) -> tuple[int, str]:
    """Return (number of ranks, launcher's name) as the launcher tells it; (1, "") without one."""
    for launcher, (rank_variable, size_variable) in LAUNCHER_VARIABLES.items():
        if environ.get(size_variable, "").isdigit() and rank_variable in environ:
            return int(environ[size_variable]), launcher
    if _in_srun_step(environ):
        return int(environ.get("SLURM_STEP_NUM_TASKS", "1")), "srun"
    return 1, ""


def check_library(library: str, environ: Mapping[str, str]) -> None:
    """Refuse a library that cannot be started, or stays alone, under this launcher.

    Args:
        library: the MPI library's own description, whole.
        environ: the process's environment.

    Raises:
        ConfigError: the launcher speaks PMIx only and the library does not, or the other way
            round.
    """
    has_pmix, has_pmi = "PMIX_RANK" in environ, "PMI_RANK" in environ
    by_srun = _in_srun_step(environ) and "OMPI_COMM_WORLD_SIZE" not in environ
    if has_pmix and not has_pmi and "Open MPI" not in library and "pmix" not in library.lower():
        launcher, option = ("srun --mpi=pmix", "pmi2") if by_srun else ("Open MPI's mpirun", "")
    elif has_pmi and not has_pmix and "Open MPI v5" in library and environ.get("PMI_SIZE") != "1":
        launcher, option = ("srun --mpi=pmi2", "pmix") if by_srun else ("MPICH's mpirun", "")
    else:
        return
    remedy = (
        f"use `srun --mpi={option}`" if option else "use the mpirun that belongs to the library"
    )
    name = library.splitlines()[0] if library else "an unknown library"
    raise ConfigError(
        f"{launcher} started this rank, but mpi4py finds another MPI library ({name}): they do not "
        f"belong together; {remedy}; `python -m ppo_mpi doctor` shows both"
    )


def check_world_size(world_size: int, library: str, environ: Mapping[str, str]) -> None:
    """Refuse to go on as N lonely ranks.

    Args:
        world_size: what MPI says.
        library: the MPI library's own description, for the message.
        environ: the process's environment.

    Raises:
        ConfigError: the launcher started several ranks, MPI knows of one.
    """
    expected, launcher = launched_world_size(environ)
    if world_size > 1 or expected <= 1:
        return
    if launcher == "srun":
        remedy = "use `srun --mpi=pmix` (Open MPI) or `srun --mpi=pmi2` (MPICH)"
    else:
        remedy = "use the mpirun that belongs to this library"
    raise ConfigError(
        f"{launcher} started {expected} ranks, but MPI knows of only one: launcher and MPI library "
        f"do not belong together ({library}); {remedy}; `python -m ppo_mpi doctor` shows both"
    )
