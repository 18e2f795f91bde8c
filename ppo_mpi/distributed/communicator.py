"""The communication: the only file that imports mpi4py.

``Communicator`` is the job of one process and needs no MPI at all; ``MpiCommunicator`` is the job
of several. All methods marked "Collective" must be reached by every rank, in the same order.

Collectives are started without blocking and polled: signals are seen, a rank that never comes
is noticed, and a waiting rank leaves its core to others.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.distributed.guard import check_world_size, launched_rank
from ppo_mpi.distributed.machine import available_cores
from ppo_mpi.errors import ConfigError, NonFiniteError, RankTimeoutError, ReplicaMismatchError

SPIN_SECONDS = 2e-3
NAP_SECONDS = 2e-4


class Communicator:
    """A job of one process: every collective is the identity."""

    rank = 0
    world_size = 1
    local_rank = 0
    local_size = 1
    library = "none (one process)"

    def __init__(self) -> None:
        self.seconds = 0.0
        """Time spent in collectives so far, waiting for other ranks included."""
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
    def average_gradients(self, gradients: FlatGradients) -> dict[str, float]:
        """Replace sums over samples by means over the job's samples, in place. Collective.

        One flat message carries all gradients, the statistics and the sample count.

        Returns:
            the statistics' means, the same on every rank.

        Raises:
            NonFiniteError: the mean gradient holds a NaN or an infinity. The mean is the same on
                all ranks, so all raise together and none is left waiting.
        """
        self._reduce_in_place(gradients.message().numpy(), "SUM")  # collective
        statistics = gradients.divide()
        # A sum is finite only if all its terms are: one pass, no mask.
        if not torch.isfinite(gradients.gradients.sum()):
            raise NonFiniteError(
                f"the gradient averaged over {self.world_size} rank(s) is not finite; lower "
                "learning_rate or max_grad_norm, or check rewards and observations for NaN"
            )
        return statistics

    def check_replicas(self, module: nn.Module) -> None:
        """Compare all ranks' parameters bit for bit. Collective.

        Raises:
            ReplicaMismatchError: they differ; the message tells which ranks from rank 0.
        """
        checksum = 0
        for tensor in module.state_dict().values():
            checksum = zlib.crc32(tensor.detach().cpu().contiguous().numpy().tobytes(), checksum)
        checksums = np.zeros(self.world_size, np.int64)
        checksums[self.rank] = checksum
        checksums = self.sum(checksums)  # collective
        others = np.flatnonzero(checksums != checksums[0]).tolist()
        if others:
            raise ReplicaMismatchError(
                f"rank(s) {others} hold other parameters than rank 0: something random or "
                "rank-dependent reached the update; run with --deterministic and report this"
            )


class MpiCommunicator(Communicator):
    """A job of several processes that an MPI launcher started."""

    def __init__(self, mpi: Any, world: Any, hang_timeout_seconds: float) -> None:
        """Take the world communicator.

        Args:
            mpi: the module mpi4py.MPI.
            world: the communicator of all ranks.
            hang_timeout_seconds: longest wait within one collective.
        """
        super().__init__()
        self._mpi = mpi
        self._world = world
        self._timeout = hang_timeout_seconds
        self.rank = world.Get_rank()
        self.world_size = world.Get_size()
        self.library = mpi.Get_library_version().split("\x00")[0].splitlines()[0].strip()
        node = world.Split_type(mpi.COMM_TYPE_SHARED)  # collective
        self.local_rank, self.local_size = node.Get_rank(), node.Get_size()
        self.node_affinities = node.allgather(available_cores())  # collective
        self.hosts = world.allgather(socket.gethostname())  # collective
        node.Free()
        # With more ranks than cores a spinning rank takes the core from the one it waits for.
        cores = frozenset[int]().union(*self.node_affinities)
        self.oversubscribed = self.local_size > len(cores)
        self._spin_seconds = 0.0 if self.oversubscribed else SPIN_SECONDS

    def _wait(self, request: Any, what: str) -> None:
        """Poll until ``request`` is complete.

        Raises:
            RankTimeoutError: it is not within the deadline.
        """
        start = time.monotonic()
        while not request.Test():
            waited = time.monotonic() - start
            if waited > self._timeout:
                raise RankTimeoutError(
                    f"rank {self.rank} waited {waited:.0f} s in {what}: another rank hangs or is "
                    "far behind; raise hang_timeout_seconds if that is expected"
                )
            if waited > self._spin_seconds:
                time.sleep(NAP_SECONDS)
        self.seconds += time.monotonic() - start

    def _reduce_in_place(self, array: np.ndarray, operation: str) -> None:
        if array.size:
            how = getattr(self._mpi, operation)
            request = self._world.Iallreduce(self._mpi.IN_PLACE, array, op=how)  # collective
            self._wait(request, {"SUM": "a sum", "MAX": "a maximum"}[operation])

    def barrier(self) -> None:
        """Wait for all ranks. Collective."""
        self._wait(self._world.Ibarrier(), "a barrier")  # collective

    # Object messages have no polled form: all ranks meet in a polled barrier first, so that the
    # blocking call after it lasts no longer than its transfer.

    def broadcast_object(self, value: Any) -> Any:
        """Return rank 0's value on every rank. Collective; not for the hot loop (pickled)."""
        self.barrier()  # collective
        return self._world.bcast(value)  # collective

    def gather_all(self, value: Any) -> list[Any]:
        """Return every rank's value, by rank. Collective; not for the hot loop (pickled)."""
        self.barrier()  # collective
        return self._world.allgather(value)  # collective

    def gather_objects(self, value: Any) -> list[Any] | None:
        """Return every rank's value on rank 0, None elsewhere. Collective; pickled."""
        self.barrier()  # collective
        return self._world.gather(value)  # collective

    @torch.no_grad()
    def broadcast_module(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers. Collective."""
        for tensor in module.state_dict().values():
            host = tensor.cpu().contiguous()
            self._wait(self._world.Ibcast(host.numpy()), "a broadcast")  # collective
            tensor.copy_(host)

    def abort(self, status: int) -> None:
        """End the whole job now, whatever the other ranks are doing."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(status)


def connect(hang_timeout_seconds: float = 600.0) -> Communicator:
    """Join the job that a launcher started, or be a job of one process. Collective.

    Without a launcher no mpi4py is imported, so that one process works where no MPI library is
    installed.

    Raises:
        ConfigError: there is no MPI library, or the launcher's ranks did not find each other.
    """
    if launched_rank(os.environ) is None:
        return Communicator()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"a launcher started this process, but mpi4py finds no MPI library ({reason}); load "
            'your cluster\'s MPI module, or pip install "ppo_mpi[mpich]"'
        ) from error
    world = MPI.COMM_WORLD
    check_world_size(world.Get_size(), MPI.Get_library_version().splitlines()[0], os.environ)
    if world.Get_size() == 1:
        return Communicator()
    return MpiCommunicator(MPI, world, hang_timeout_seconds)
