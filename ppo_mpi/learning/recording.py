"""What a GPU does again and again: recorded once, then replayed as a whole.

A small network's kernels are over before Python has launched the next one. A CUDA graph launches
all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UPS = 3
"""Runs before recording: libraries choose kernels and take memory in the first ones."""


def recording_stream(device: torch.device) -> Any:
    """Return a stream to record on; None for a processor, where nothing is recorded."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


class Recording:
    """A function without arguments whose tensors lie in the same memory at every call.

    What it returns is overwritten by the next call.
    """

    def __init__(
        self, function: Callable[[], tuple[Tensor, ...]], stream: Any, pool: Any = None
    ) -> None:
        """Record it, if there is a stream of a GPU; elsewhere each call runs it.

        Args:
            function: reads and writes tensors that stay where they are. It runs a few times here,
                so what it adds to must be zeroed afterwards.
            stream: the one to record on, by ``recording_stream``; one for all of an owner's, as
                libraries keep memory for each.
            pool: the memory that recordings which are never replayed at the same time share.
        """
        self._function = function
        self._graph: Any = None
        if stream is None:
            self._outputs = function()
        else:
            self._record(stream, pool)

    def _record(self, stream: Any, pool: Any) -> None:
        settings = torch.backends.cudnn
        before = settings.benchmark
        # Shapes are always the same here: the fastest kernels are worth a search.
        settings.benchmark = not torch.are_deterministic_algorithms_enabled()
        try:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    self._outputs = self._function()
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads, NCCL's among them, may look after their own work meanwhile.
            with torch.cuda.graph(
                self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                self._outputs = self._function()
        finally:
            settings.benchmark = before

    def __call__(self) -> tuple[Tensor, ...]:
        """Do what the function does; return the tensors that the last call returned."""
        if self._graph is not None:
            self._graph.replay()
        else:
            for own, new in zip(self._outputs, self._function(), strict=True):
                own.copy_(new)
        return self._outputs
