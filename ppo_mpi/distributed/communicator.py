"""The communication: what the ranks may say to each other; the only file that imports mpi4py.

``Communicator`` is the job of one process and needs no MPI at all; ``connect`` returns the job of
several (``mpi_communicator``) where a launcher started one. All methods marked "Collective" must
be reached by every rank, in the same order.
"""

from __future__ import annotations

import os
import socket
import sys
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppo_mpi.distributed import elastic
from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.distributed.guard import check_library, check_world_size, launched_rank
from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.machine import available_cores
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.errors import (
    ConfigError,
    ReplicaMismatchError,
)


class Communicator:
    """A job of one process: every collective is the identity."""

    rank = 0
    world_size = 1
    local_rank = 0
    local_size = 1
    library = "none (one process)"
    transport = "mpi"
    """What adds up the gradients: mpi, NCCL or Gloo."""
    survives_losses = False
    """Whether the ranks that are left go on after the loss of one."""

    def __init__(self) -> None:
        self.heart = Heart()
        """What this rank is doing."""
        self.seconds = 0.0
        """Time spent in collectives so far, waiting for other ranks included."""
        self.messages = 0
        """Collectives so far."""
        self._early: Any = None
        self.node_affinities: list[frozenset[int]] = [available_cores()]
        """The cores that each rank of this node may run on."""
        self.hosts: list[str] = [socket.gethostname()]
        """Host name of each rank."""

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0, which alone prints and writes."""
        return self.rank == 0

    def shard(self, total: int) -> range:
        """Return this rank's contiguous block of ``range(total)``; sizes differ by one at most."""
        size, rest = divmod(total, self.world_size)
        start = self.rank * size + min(self.rank, rest)
        return range(start, start + size + (self.rank < rest))

    def _reduce_in_place(self, array: np.ndarray, operation: str) -> None:
        """Reduce ``array`` over the ranks by MPI's SUM or MAX. Collective."""

    def barrier(self) -> None:
        """Wait for all ranks. Collective."""

    def broadcast_object(self, value: Any) -> Any:
        """Return rank 0's value on every rank. Collective; not for the hot loop (pickled)."""
        return value

    def gather_all(self, value: Any) -> list[Any]:
        """Return every rank's value, by rank. Collective; not for the hot loop (pickled)."""
        return [value]

    def gather_objects(self, value: Any) -> list[Any] | None:
        """Return every rank's value on rank 0, None elsewhere. Collective; pickled."""
        return [value]

    def broadcast_module(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers. Collective."""

    def abort(self, status: int) -> None:
        """End the whole job now, whatever the other ranks are doing."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def exchange(self, value: Any, distance: int) -> Any:
        """Give ``value`` to the rank ``distance`` further on, in a ring; return what comes.

        Collective; pickled.
        """
        return value

    def agree(self, succeeded: bool) -> bool:
        """Return whether all succeeded and none was lost. Collective, for all that are left.

        Only where ranks may be lost this says False to anybody: elsewhere a rank that fails ends
        the job.
        """
        return succeeded

    def shrink(self) -> Communicator:
        """Return the job of those that are left. Collective, for them."""
        return self

    def finish(self, status: int) -> None:
        """Leave the job in good order, as its last act. Collective."""

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Return the sum over the ranks. Collective.

        Args:
            array: any shape, float64 or int64, the same shape on every rank.
        """
        total = np.ascontiguousarray(array).copy()
        self._reduce_in_place(total, "SUM")  # collective
        return total

    def exact_sum(self, terms: np.ndarray) -> np.ndarray:
        """Return sums over the last axis and the ranks, the same bits in any order. Collective.

        The terms of a sum are rounded to multiples of one quantum, chosen by the largest of them
        and their number so that no partial sum needs rounding: the order does not matter.

        Args:
            terms: [..., K] float64; K may differ between ranks, and be 0.

        Returns:
            [...] float64; each term is rounded by at most the largest one times the number of
            terms times 2**-52.
        """
        largest = np.abs(terms).max(-1, keepdims=True, initial=0.0)
        self._reduce_in_place(largest, "MAX")  # collective
        count = int(self.sum(np.array([terms.shape[-1]]))[0])  # collective
        bound = largest * max(1, count)
        # Of what is all zeros, or not finite, any quantum is as good as another.
        bound = np.where((bound > 0) & np.isfinite(bound), bound, 1.0)
        quantum = 2.0 ** (np.ceil(np.log2(bound)) - 52)
        return self.sum((np.rint(terms / quantum) * quantum).sum(-1))  # collective

    def largest(self, array: np.ndarray) -> np.ndarray:
        """Return the largest number of all ranks, element by element. Collective.

        Args:
            array: any shape, float64 or int64, the same shape on every rank.
        """
        found = np.ascontiguousarray(array).copy()
        self._reduce_in_place(found, "MAX")  # collective
        return found

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank. Collective."""
        return bool(self.sum(np.array([int(flag)]))[0])  # collective

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and (population) standard deviation over the job's samples. Collective.

        Args:
            x: [N, K] float32; N may differ between ranks.

        Returns:
            [K] float32 each.
        """
        columns = x.double().cpu().numpy().T
        count = float(self.sum(np.array([columns.shape[1]]))[0])  # collective
        mean = self.exact_sum(columns) / count  # collective
        squares = (columns - mean[:, None]) ** 2  # second pass: no cancellation
        deviation = np.sqrt(self.exact_sum(squares) / count)  # collective
        both = torch.from_numpy(np.stack([mean, deviation])).float().to(x.device)
        return both[0], both[1]

    @torch.no_grad()
    def average_gradients(self, gradients: FlatGradients) -> dict[str, Any]:
        """Replace sums over samples by means over the job's samples, in place. Collective.

        One flat message carries all gradients, the statistics and the sample count; of a large
        network two do, and ``begin_sum`` may have sent the first.

        Returns:
            the statistics' means, the same on every rank; those on a GPU are for
            ``gradients.read``.

        Raises:
            IterationAbandonedError: a rank was told to stop, too long ago to go on; on all.
            NonFiniteError: the mean gradient holds a NaN or an infinity. The mean is the same on
                all ranks, so all raise together and none is left waiting. On a GPU both are
                noticed by ``gradients.read``.
        """
        if self._early is None:  # else it has been sent
            gradients.vote_to_stop(STOP.overdue)
        self._sum_gradients(gradients)  # collective
        return gradients.average(self.world_size, self.heart.iteration)

    def choose_transport(self, asked: str, device: torch.device) -> None:
        """Decide what adds up the gradients from now on. Collective.

        Args:
            asked: ``"mpi"``; ``"torch"``: NCCL on GPUs, Gloo on processors; ``"auto"``: NCCL
                where every rank has a GPU of its own, else MPI.
            device: this rank's.

        Raises:
            ConfigError: torch's cannot be used here.
        """

    def begin_sum(self, gradients: FlatGradients) -> None:
        """Begin to add up what is complete of the gradients, while this rank computes the rest.

        ``average_gradients`` follows. Ranks that do not come by here send the same by then, so
        each may do as it likes.
        """

    def _sum_gradients(self, gradients: FlatGradients) -> None:
        """Add up the message of gradients over the ranks. Collective."""

    def check_replicas(self, module: nn.Module) -> None:
        """Compare all ranks' parameters bit for bit. Collective.

        Raises:
            ReplicaMismatchError: they differ; the message names the odd ranks, where a majority
                agrees, and the tensors.
        """
        state = module.state_dict()
        checksums = self.by_rank(np.array([_checksum(list(state.values()))]))[:, 0]  # collective
        if (checksums == checksums[0]).all():
            return
        tensors = self.by_rank(np.array([_checksum([t]) for t in state.values()]))  # collective
        differ = (tensors != tensors[0]).any(0)
        names = [name for name, different in zip(state, differ, strict=True) if different]
        values, counts = np.unique(checksums, return_counts=True)
        usual = values[counts.argmax()]
        odd = np.flatnonzero(checksums != usual).tolist()
        if 2 * counts.max() > self.world_size:
            who = f"rank(s) {odd} hold other parameters than the other {counts.max()} ranks"
        else:
            who = f"the {self.world_size} ranks hold {len(values)} different models"
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise ReplicaMismatchError(
            f"{who} (in {shown}): a memory fault, or something rank-dependent reached the update; "
            "start the same command again to go on from the last checkpoint, where they agreed; "
            "if it happens again with --deterministic true, report it"
        )

    def by_rank(self, row: np.ndarray) -> np.ndarray:
        """Return [world_size, K]: every rank's ``row`` [K], float64 or int64. Collective."""
        rows = np.zeros((self.world_size, len(row)), row.dtype)
        rows[self.rank] = row
        return self.sum(rows)  # collective


def _checksum(tensors: list[Tensor]) -> int:
    checksum = 0
    for tensor in tensors:
        checksum = zlib.crc32(tensor.detach().cpu().contiguous().numpy().tobytes(), checksum)
    return checksum


def connect(hang_timeout_seconds: float = 0.0, survive_losses: bool = False) -> Communicator:
    """Join the job that a launcher started, or be a job of one process. Collective.

    Without a launcher no mpi4py is imported, so that one process works where no MPI library is
    installed.

    Args:
        hang_timeout_seconds: longest wait within one collective; 0 = none.
        survive_losses: whether the others go on when a rank is lost.

    Raises:
        ConfigError: there is no MPI library, the launcher's ranks did not find each other, or
            the library cannot survive losses.
    """
    if launched_rank(os.environ) is None:
        return Communicator()
    try:
        import mpi4py

        # Started below: some libraries end the process over a launcher of another one.
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"a launcher started this process, but mpi4py finds no MPI library ({reason}); load "
            'your cluster\'s MPI module, or pip install "ppo_mpi[mpich]"'
        ) from error
    from ppo_mpi.distributed.mpi_communicator import MpiCommunicator

    check_library(MPI.Get_library_version(), os.environ)
    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
    world = MPI.COMM_WORLD
    library = MPI.Get_library_version().splitlines()[0]
    check_world_size(world.Get_size(), library, os.environ)
    if world.Get_size() == 1:
        return Communicator()
    if survive_losses:
        elastic.check_support(library, os.environ)
        world.Set_errhandler(MPI.ERRORS_RETURN)
    return MpiCommunicator(MPI, world, hang_timeout_seconds, survive_losses)
