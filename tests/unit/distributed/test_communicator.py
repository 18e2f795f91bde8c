"""The communicator of one process: every collective is the identity, and needs no MPI."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.distributed.guard import LAUNCHER_VARIABLES
from ppo_mpi.errors import NonFiniteError

COMM = Communicator()


def environment_without_launcher() -> dict[str, str]:
    variables = {name for pair in LAUNCHER_VARIABLES.values() for name in pair}
    return {k: v for k, v in os.environ.items() if k not in variables and "SLURM" not in k}


def test_one_process_is_the_root_of_a_job_of_one():
    assert (COMM.rank, COMM.world_size, COMM.is_root) == (0, 1, True)
    assert COMM.shard(5) == range(5)
    assert len(COMM.hosts) == len(COMM.node_affinities) == 1


def test_collectives_are_the_identity():
    array = np.arange(4.0)
    total = COMM.sum(array)
    np.testing.assert_array_equal(total, array)
    total += 1
    assert array[0] == 0, "sum gave back the array itself"
    assert COMM.any(True) is True
    assert COMM.any(False) is False
    assert COMM.broadcast_object("x") == "x"
    assert COMM.gather_all(3) == COMM.gather_objects(3) == [3]
    COMM.barrier()
    COMM.check_replicas(nn.Linear(2, 2))
    COMM.broadcast_module(nn.Linear(2, 2))


@pytest.mark.parametrize("total", range(8))
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_shards_are_contiguous_and_differ_in_size_by_one_at_most(total, world_size):
    shards = []
    for rank in range(world_size):
        comm = Communicator()
        comm.rank, comm.world_size = rank, world_size
        shards.append(comm.shard(total))
    assert [i for shard in shards for i in shard] == list(range(total))
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_moments_are_mean_and_population_deviation_per_column():
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * 5 + 1000
    mean, deviation = COMM.moments(x)
    np.testing.assert_allclose(mean, x.double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, x.double().std(0, unbiased=False), rtol=1e-6)
    assert mean.dtype == deviation.dtype == torch.float32


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_is_an_error_with_a_remedy(poison):
    model = nn.Linear(3, 2)
    gradients = FlatGradients(model, ())
    gradients.gradients[4] = poison
    gradients.add_statistics(torch.zeros(0), 1)
    message = r"is not finite in iteration 0: weight \(1 of 6\); lower learning_rate"
    with pytest.raises(NonFiniteError, match=message):
        COMM.average_gradients(gradients)


def test_opposite_infinities_do_not_cancel_into_something_finite():
    gradients = FlatGradients(nn.Linear(3, 2), ())
    gradients.gradients[0], gradients.gradients[1] = float("inf"), -float("inf")
    gradients.add_statistics(torch.zeros(0), 1)
    with pytest.raises(NonFiniteError):
        COMM.average_gradients(gradients)


def test_without_a_launcher_no_mpi_is_imported():
    program = (
        "import sys; from ppo_mpi.distributed.communicator import connect, Communicator;"
        "assert type(connect()) is Communicator; assert 'mpi4py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment_without_launcher())


def test_a_launched_job_of_one_rank_is_a_job_of_one_process():
    pytest.importorskip("mpi4py")
    program = (
        "from ppo_mpi.distributed.communicator import connect, Communicator;"
        "assert type(connect()) is Communicator"
    )
    environ = environment_without_launcher() | {"OMPI_COMM_WORLD_RANK": "0"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environ)


def test_ranks_that_did_not_find_each_other_are_refused():
    pytest.importorskip("mpi4py")
    program = (
        "from ppo_mpi.distributed.communicator import connect\n"
        "from ppo_mpi.errors import ConfigError\n"
        "try: connect()\n"
        "except ConfigError as error: print(error)"
    )
    environ = environment_without_launcher()
    environ |= {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=environ)  # fmt: skip
    assert "Open MPI's mpirun started 4 ranks, but MPI knows of only one" in done.stdout


def test_a_missing_mpi_library_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("class rc: pass")
    (tmp_path / "mpi4py" / "MPI.py").write_text("raise RuntimeError('cannot load libmpi.so')")
    program = (
        "from ppo_mpi.distributed.communicator import connect\n"
        "from ppo_mpi.errors import ConfigError\n"
        "try: connect()\n"
        "except ConfigError as error: print(error)"
    )
    environ = environment_without_launcher() | {"PMI_RANK": "0", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=environ)  # fmt: skip
    assert "mpi4py finds no MPI library (cannot load libmpi.so)" in done.stdout, done.stderr
    assert "ppo_mpi[mpich]" in done.stdout
