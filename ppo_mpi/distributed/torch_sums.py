"""Sums of gradients by torch: by NCCL from GPU to GPU, by Gloo between processors.

MPI stays the job's communication: the ranks find each other by it, and all else goes by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from ppo_mpi.errors import ConfigError

LOOPBACK = "127.0.0.1"
TIMEOUT = timedelta(hours=24)
"""NCCL's own limit. A rank that hangs is found by its watchdog, long before."""


class Summing:
    """A sum under way, to be polled as MPI's requests are."""

    def __init__(self, work: Any, on_gpu: bool) -> None:
        self._work = work
        self._on_gpu = on_gpu

    def Test(self) -> bool:  # noqa: N802 - MPI's name
        """Return whether what follows may use the sum.

        A GPU itself waits for it before what follows, so there it may at once.

        Raises:
            RuntimeError: the sum has failed.
        """
        if not self._on_gpu and not self._work.is_completed():
            return False
        self._work.wait()
        return True


class TorchSums:
    """The process group of torch's with the ranks of an MPI job."""

    def __init__(self, store: Any, rank: int, world_size: int, device: torch.device) -> None:
        """Make the group. Collective, for all ranks that have joined the store.

        Args:
            store: of this rank, by ``open_store`` or ``join_store``.
            rank: of the job.
            world_size: of the job.
            device: where its messages lie: this rank's GPU, or the processor.
        """
        self.device = device
        on_gpu = device.type == "cuda"
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=TIMEOUT,
            device_id=device if on_gpu else None,
        )

    def start(self, tensor: Tensor) -> Summing:
        """Begin to add up ``tensor`` over the ranks, in place. Collective."""
        work = distributed.all_reduce(tensor, async_op=True)  # collective
        return Summing(work, self.device.type == "cuda")

    def close(self) -> None:
        """Leave the group."""
        distributed.destroy_process_group()


def chosen_transport(asked: str, seats: Sequence[tuple[str, str]], survives_losses: bool) -> str:
    """Return what adds up gradients: "mpi", "NCCL" or "Gloo".

    Args:
        asked: ``"auto"``, ``"mpi"`` or ``"torch"``.
        seats: host and GPU of each rank, "" for none.
        survives_losses: whether the job goes on without a rank that is lost.

    Raises:
        ConfigError: torch was asked for and cannot be used.
    """
    gpus = [gpu for _, gpu in seats]
    of_its_own = all(gpus) and len(set(seats)) == len(seats)
    if asked == "mpi" or (asked == "auto" and (survives_losses or not of_its_own)):
        return "mpi"
    if survives_losses:
        raise ConfigError(
            "transport=torch cannot go on without a rank that is lost, as on_failure=shrink asks; "
            "use transport=mpi"
        )
    if any(gpus) and not of_its_own:
        num = len({seat for seat in seats if seat[1]})
        raise ConfigError(
            f"transport=torch needs a GPU for each of the {len(seats)} ranks, and there are {num}; "
            "use transport=mpi, or launch one rank for each GPU"
        )
    return "NCCL" if of_its_own else "Gloo"


def name_of_gpu(device: torch.device) -> str:
    """Return what tells the GPUs of a host apart; "" for a processor."""
    if device.type != "cuda":
        return ""
    return str(torch.cuda.get_device_properties(device).uuid)


def store_address(hosts: Sequence[str]) -> str:
    """Return where the ranks meet: rank 0's host, as all of them can reach it."""
    return LOOPBACK if len(set(hosts)) == 1 else hosts[0]


def open_store(address: str) -> Any:
    """Open rank 0's store at a free port; ``store.port`` names it."""
    return distributed.TCPStore(
        address, 0, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=5)
    )


def join_store(address: str, port: int) -> Any:
    """Join the store that rank 0 has opened."""
    return distributed.TCPStore(
        address, port, is_master=False, wait_for_workers=False, timeout=timedelta(minutes=5)
    )
