"""A sum that a thread keeps going: handed over with whatever it has met."""

from __future__ import annotations

import threading

import pytest

from ppo_mpi.distributed.early_sum import EarlySum


class Request:
    """Complete when it is told so, or broken."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.calls, self.asked = error, 0, threading.Event()

    def Test(self) -> bool:  # noqa: N802 - MPI's name
        self.calls += 1
        self.asked.set()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return False


def test_a_thread_asks_until_the_request_is_handed_over():
    request = Request()
    early = EarlySum(request, RuntimeError)
    assert request.asked.wait(10)
    assert early.handed_over() is request
    calls = request.calls
    assert calls >= 1
    assert not early._thread.is_alive()
    assert request.calls == calls


def test_what_the_thread_met_is_raised_at_the_hand_over():
    request = Request(RuntimeError("lost"))
    early = EarlySum(request, RuntimeError)
    assert request.asked.wait(10)
    with pytest.raises(RuntimeError, match="lost"):
        early.handed_over()
