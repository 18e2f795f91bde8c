"""Gradients that travel while others are computed: the same sums, whoever sends early."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.gradients import LEAST_TO_CUT, FlatGradients
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.errors import IterationAbandonedError


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 300), nn.Tanh(), nn.Linear(300, 400), nn.Linear(400, 1))


def error_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x).square().sum()


# Nobody, all, and only some send early.
@pytest.mark.parametrize("early", [(), (0, 1, 2, 3), (1,), (0, 2)])
def test_the_sums_are_the_same_whoever_sends_early(comm: Communicator, early: tuple[int, ...]):
    model = make_model()
    whole = copy.deepcopy(model)
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    (error_of(whole, x) / 6).backward()
    gradients = FlatGradients(model, ("error",))
    assert sum(p.numel() for p in model.parameters()) > LEAST_TO_CUT
    assert 0 < gradients.cut < gradients.num_gradients / 2
    for _ in range(3):
        gradients.zero()
        own = x[comm.shard(6).start : comm.shard(6).stop]
        half = len(own) // 2
        error_of(model, own[:half]).backward()
        with torch.no_grad():
            gradients.add_statistics(error_of(model, own)[None], len(own))
        if comm.rank in early:
            gradients.call_when_complete(partial(comm.begin_sum, gradients))
        error_of(model, own[half:]).backward()
        assert (comm._early is not None) == (comm.rank in early and comm.world_size > 1)
        means = comm.average_gradients(gradients)
        assert comm._early is None
        assert means["error"] == pytest.approx(error_of(whole, x).item() / 6, rel=1e-5)
        for p, q in zip(model.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)


def test_a_vote_to_stop_rides_in_what_is_sent_early(comm: Communicator, monkeypatch):
    model = make_model()
    gradients = FlatGradients(model, ())
    last = comm.rank == comm.world_size - 1
    monkeypatch.setattr(type(STOP), "overdue", property(lambda _: last))
    gradients.add_statistics(torch.zeros(0), 1)
    gradients.call_when_complete(partial(comm.begin_sum, gradients))
    error_of(model, torch.ones(1, 5)).backward()
    with pytest.raises(IterationAbandonedError):
        comm.average_gradients(gradients)


def test_small_networks_send_one_message():
    gradients = FlatGradients(nn.Linear(10, 10), ())
    assert gradients.cut == 0
    assert [len(m) for m in gradients.messages()] == [len(gradients.buffer)]
