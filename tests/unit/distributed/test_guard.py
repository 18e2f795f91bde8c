"""What launchers tell their ranks, and ranks that did not find each other."""

from __future__ import annotations

import pytest

from ppo_mpi.distributed.guard import (
    check_library,
    check_world_size,
    launched_rank,
    launched_world_size,
)
from ppo_mpi.errors import ConfigError

SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"}
SBATCH = {"SLURM_PROCID": "0", "SLURM_JOB_ID": "17", "SLURM_NTASKS": "8"}


@pytest.mark.parametrize(
    ("environ", "rank", "size"),
    [
        ({}, None, (1, "")),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}, 2, (4, "Open MPI's mpirun")),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, 0, (2, "MPICH's mpirun")),
        ({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "2"}, 1, (2, "MVAPICH's mpirun")),
        ({"PALS_RANKID": "5", "PALS_SIZE": "6"}, 5, (6, "a PALS launcher")),
        ({"PMIX_RANK": "1"}, 1, (1, "")),
        (SRUN, 3, (8, "srun")),
        (SBATCH, None, (1, "")),  # the batch shell itself: a plain python there is one process
        (SBATCH | {"SLURM_STEP_ID": "batch"}, None, (1, "")),
        ({"PMI_RANK": "", "PMI_SIZE": ""}, None, (1, "")),
    ],
)
def test_rank_and_number_of_ranks_are_read_as_the_launcher_gives_them(environ, rank, size):
    assert launched_rank(environ) == rank
    assert launched_world_size(environ) == size


def test_ranks_that_found_each_other_go_on():
    check_world_size(8, "Open MPI v5", SRUN)
    check_world_size(1, "Open MPI v5", {})
    check_world_size(1, "MPICH", {"PMI_RANK": "0", "PMI_SIZE": "1"})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"PMI_RANK": "0", "PMI_SIZE": "4"},
            r"MPICH's mpirun started 4 ranks, but MPI knows of only one: launcher and MPI library "
            r"do not belong together \(Some MPI\); use the mpirun that belongs to this library; "
            r"`python -m ppo_mpi doctor` shows both",
        ),
        (SRUN, r"srun started 8 ranks, .*`srun --mpi=pmix` \(Open MPI\) or `srun --mpi=pmi2`"),
    ],
)
def test_lonely_ranks_are_told_what_to_change(environ, message):
    with pytest.raises(ConfigError, match=message):
        check_world_size(1, "Some MPI", environ)


MPICH = "MPICH Version: 5.0.2\nMPICH configure: --with-device=ch4:ucx"
OPEN_MPI = "Open MPI v5.0.11"
PMI, PMIX = {"PMI_RANK": "0", "PMI_SIZE": "2"}, {"PMIX_RANK": "0"}


@pytest.mark.parametrize(
    ("library", "environ"),
    [
        (MPICH, {}),
        (MPICH, PMI),
        (MPICH, PMI | PMIX),
        (MPICH + " --with-pmix=/usr", PMIX),
        (OPEN_MPI, PMIX),
        (OPEN_MPI, PMI | PMIX),
        ("Open MPI v4.1.4", PMI),
    ],
)
def test_a_library_that_speaks_the_launchers_language_is_started(library: str, environ):
    check_library(library, environ)


@pytest.mark.parametrize(
    ("library", "environ", "message"),
    [
        (MPICH, PMIX | {"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI's mpirun started this rank"),
        (MPICH, PMIX | SRUN, "use `srun --mpi=pmi2`"),
        (OPEN_MPI, PMI, "MPICH's mpirun started this rank"),
        (OPEN_MPI, PMI | SRUN, "use `srun --mpi=pmix`"),
    ],
)
def test_a_library_that_does_not_is_refused_with_the_remedy(library: str, environ, message: str):
    with pytest.raises(ConfigError, match=message):
        check_library(library, environ)
