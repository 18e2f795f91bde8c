"""A job of several processes that an MPI launcher started.

Collectives are started without blocking and polled: signals are seen, a rank that never comes
is noticed, and a waiting rank leaves its core to others.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppo_mpi.distributed import elastic
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.early_sum import EarlySum
from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.distributed.machine import available_cores
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.distributed.torch_sums import (
    TorchSums,
    chosen_transport,
    join_store,
    name_of_gpu,
    open_store,
    store_address,
)
from ppo_mpi.errors import RankTimeoutError

SPIN_SECONDS = 2e-3
NAP_SECONDS = 2e-4


class MpiCommunicator(Communicator):
    """A job of several processes that an MPI launcher started."""

    def __init__(
        self,
        mpi: Any,
        world: Any,
        hang_timeout_seconds: float = 0.0,
        survives_losses: bool = False,
    ) -> None:
        """Take the communicator of all ranks.

        Args:
            mpi: the module mpi4py.MPI.
            world: all ranks.
            hang_timeout_seconds: longest wait within one collective; 0 = none, where a watchdog
                looks after that.
            survives_losses: whether the loss of a rank is an error that can be lived with.
        """
        super().__init__()
        self._mpi = mpi
        self._world = world
        self._timeout = hang_timeout_seconds
        self._arriving: Any = None
        self._torch_sums: TorchSums | None = None
        self.survives_losses = survives_losses
        self.rank = world.Get_rank()
        self.world_size = world.Get_size()
        self.library = mpi.Get_library_version().split("\x00")[0].splitlines()[0].strip()
        self._spin_seconds = SPIN_SECONDS
        self._is_threaded = mpi.Query_thread() == mpi.THREAD_MULTIPLE
        with self._losses():
            node = world.Split_type(mpi.COMM_TYPE_SHARED)  # collective
            self.local_rank, self.local_size = node.Get_rank(), node.Get_size()
            # By way of the job, whose losses are handled, instead of the node's communicator.
            name = node.Get_group().Translate_ranks([0], world.Get_group())[0]
            node.Free()
        seats = self.gather_all((name, available_cores(), socket.gethostname()))  # collective
        self.hosts = [host for _, _, host in seats]
        self.node_affinities = [cores for node_name, cores, _ in seats if node_name == name]
        # With more ranks than cores a spinning rank takes the core from the one it waits for.
        cores = frozenset[int]().union(*self.node_affinities)
        self.oversubscribed = self.local_size > len(cores)
        if self.oversubscribed:
            self._spin_seconds = 0.0

    @contextlib.contextmanager
    def _losses(self) -> Iterator[None]:
        """Turn the loss of a rank into an error of ours.

        Raises:
            RankLostError: a rank was lost, and the job survives losses.
        """
        try:
            yield
        except self._mpi.Exception as error:
            if not (self.survives_losses and elastic.is_loss(self._mpi, error)):
                raise
            raise elastic.rank_lost(self._world) from error

    def _wait(self, start: Callable[[], Any], what: str) -> None:
        """Start a collective and poll until it is complete.

        Args:
            start: returns the request, or a tuple of several.
            what: the collective in words.

        Raises:
            RankTimeoutError: it is not within the deadline, if there is one.
            RankLostError: a rank was lost, and the job survives losses.
        """
        began = time.monotonic()
        self.heart.waiting_for = what
        with self._losses():
            started = start()
            for request in started if isinstance(started, tuple) else (started,):
                while not request.Test():
                    self._wait_a_little(time.monotonic() - began, what)
        self.heart.waiting_for = ""
        self.seconds += time.monotonic() - began
        self.messages += 1

    def _wait_a_little(self, waited: float, what: str) -> None:
        if 0 < self._timeout < waited:
            raise RankTimeoutError(
                f"rank {self.rank} waited {waited:.0f} s in {what}: another rank hangs or is far "
                "behind; raise hang_timeout_seconds if that is expected"
            )
        if waited > self._spin_seconds:
            time.sleep(NAP_SECONDS)

    def _reduce_in_place(self, array: np.ndarray, operation: str) -> None:
        if array.size:
            how = getattr(self._mpi, operation)

            def start() -> Any:
                return self._world.Iallreduce(self._mpi.IN_PLACE, array, op=how)  # collective

            self._wait(start, {"SUM": "a sum", "MAX": "a maximum"}[operation])

    def barrier(self) -> None:
        """Wait for all ranks. Collective."""
        self._wait(self._world.Ibarrier, "a barrier")  # collective

    # MPI's messages of objects have no polled form; a blocking one could not be told from a hang,
    # and some libraries let no other thread end the job meanwhile. So: sizes first, then bytes.

    def broadcast_object(self, value: Any) -> Any:
        """Return rank 0's value on every rank. Collective; not for the hot loop (pickled)."""
        payload = self._packed(value) if self.is_root else np.empty(0, np.uint8)
        size = np.array([payload.size])
        self._wait(lambda: self._world.Ibcast(size), "a broadcast")  # collective
        payload = payload if self.is_root else np.empty(int(size[0]), np.uint8)
        self._wait(lambda: self._world.Ibcast(payload), "a broadcast")  # collective
        return self._mpi.pickle.loads(payload)

    def gather_all(self, value: Any) -> list[Any]:
        """Return every rank's value, by rank. Collective; not for the hot loop (pickled)."""
        payload = self._packed(value)
        sizes = self.by_rank(np.array([payload.size]))[:, 0]  # collective
        received = np.empty(int(sizes.sum()), np.uint8)

        def start() -> Any:
            return self._world.Iallgatherv(payload, [received, sizes])  # collective

        self._wait(start, "a gathering")
        return self._unpacked(received, sizes)

    def gather_objects(self, value: Any) -> list[Any] | None:
        """Return every rank's value on rank 0, None elsewhere. Collective; pickled."""
        payload = self._packed(value)
        sizes = self.by_rank(np.array([payload.size]))[:, 0]  # collective
        received = np.empty(int(sizes.sum()) if self.is_root else 0, np.uint8)

        def start() -> Any:
            target = [received, sizes] if self.is_root else None
            return self._world.Igatherv(payload, target)  # collective

        self._wait(start, "a gathering")
        return self._unpacked(received, sizes) if self.is_root else None

    def exchange(self, value: Any, distance: int) -> Any:
        """Give ``value`` to the rank ``distance`` further on, in a ring; return what comes.

        Collective; pickled.
        """
        payload = self._packed(value)
        size = np.empty(1, np.int64)
        self._send_around(np.array([payload.size]), size, distance)  # collective
        received = np.empty(int(size[0]), np.uint8)
        self._send_around(payload, received, distance)  # collective
        return self._mpi.pickle.loads(received)

    def _send_around(self, sent: np.ndarray, received: np.ndarray, distance: int) -> None:
        """Fill ``received`` from the rank that is ``distance`` back in the ring. Collective."""
        target = (self.rank + distance) % self.world_size
        source = (self.rank - distance) % self.world_size

        def start() -> tuple[Any, Any]:
            # Kept: if the other rank is lost, what arrives must still find its memory.
            self._arriving = self._world.Irecv(received, source)
            return self._arriving, self._world.Isend(sent, target)

        self._wait(start, "an exchange")

    def _packed(self, value: Any) -> np.ndarray:
        return np.frombuffer(self._mpi.pickle.dumps(value), np.uint8)

    def _unpacked(self, received: np.ndarray, sizes: np.ndarray) -> list[Any]:
        """Return the values whose bytes lie one behind the other."""
        ends = np.cumsum(sizes)
        return [
            self._mpi.pickle.loads(received[end - size : end])
            for end, size in zip(ends, sizes, strict=True)
        ]

    def choose_transport(self, asked: str, device: torch.device) -> None:
        """Decide what adds up the gradients from now on. Collective.

        Args:
            asked: ``"mpi"``; ``"torch"``: NCCL on GPUs, Gloo on processors; ``"auto"``: NCCL
                where every rank has a GPU of its own, else MPI.
            device: this rank's.

        Raises:
            ConfigError: torch's cannot be used here.
        """
        seats = self.gather_all((self.hosts[self.rank], name_of_gpu(device)))  # collective
        # The same on every rank.
        self.transport = chosen_transport(asked, seats, self.survives_losses)
        if self.transport == "mpi":
            self._torch_sums = None
        elif self._torch_sums is None:
            address = store_address(self.hosts)
            store = open_store(address) if self.is_root else None
            port = self.broadcast_object(store.port if store else 0)  # collective
            store = store or join_store(address, port)
            self._torch_sums = TorchSums(store, self.rank, self.world_size, device)  # collective

    def begin_sum(self, gradients: FlatGradients) -> None:
        """Begin to add up what is complete of the gradients, while this rank computes the rest.

        ``average_gradients`` follows. Ranks that do not come by here send the same by then, so
        each may do as it likes.
        """
        # A thread cannot tell the main one of a rank that was lost in the midst of its work.
        if self._torch_sums is None and self._is_threaded and not self.survives_losses:
            gradients.vote_to_stop(STOP.overdue)
            array = gradients.messages()[0].numpy()
            # Collective, though not all ranks may come by here: the others send the same message,
            # as the first of two, in average_gradients.
            request = self._world.Iallreduce(self._mpi.IN_PLACE, array, op=self._mpi.SUM)
            self._early = EarlySum(request, self._mpi.Exception)

    def _sum_gradients(self, gradients: FlatGradients) -> None:
        """Add up the message of gradients over the ranks. Collective."""
        sums = self._torch_sums
        if sums is None or gradients.sums.device.type != sums.device.type:  # alike on all ranks
            messages = gradients.messages()
            if self._early is not None:
                early, self._early = self._early, None
                self._wait(early.handed_over, "a sum")
                messages = messages[1:]
            for message in messages:  # as many on every rank, those begun before included
                self._reduce_in_place(message.numpy(), "SUM")  # collective
            gradients.received()
        else:
            self._wait(lambda: sums.start(gradients.sums), "a sum")  # collective

    def agree(self, succeeded: bool) -> bool:
        """Return whether all succeeded and none was lost. Collective, for all that are left."""
        if not self.survives_losses:
            return succeeded
        self.heart.waiting_for = "an agreement"
        agreed = elastic.agree(self._mpi, self._world, succeeded)
        self.heart.waiting_for = ""
        return agreed

    def shrink(self) -> Communicator:
        """Return the job of those that are left. Collective, for them.

        Raises:
            RankLostError: another one was lost meanwhile.
        """
        with self._losses():
            left = elastic.shrink(self._mpi, self._world)
        return MpiCommunicator(self._mpi, left, self._timeout, survives_losses=True)

    def finish(self, status: int) -> None:
        """Leave the job in good order, as its last act. Collective."""
        if self.transport != "mpi" and self._torch_sums is not None:
            self.barrier()  # collective: the ranks leave together, and rank 0's store is the last
            self._torch_sums.close()
            self.barrier()  # collective
        if self.survives_losses:
            self.agree(True)  # collective: nobody leaves while others still work
            elastic.leave_at_once(status)

    @torch.no_grad()
    def broadcast_module(self, module: nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers. Collective."""
        for tensor in module.state_dict().values():
            host = tensor.cpu().contiguous()

            def start(host: Tensor = host) -> Any:
                return self._world.Ibcast(host.numpy())  # collective

            self._wait(start, "a broadcast")
            tensor.copy_(host)

    def abort(self, status: int) -> None:
        """End the whole job now, whatever the other ranks are doing."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(status)
