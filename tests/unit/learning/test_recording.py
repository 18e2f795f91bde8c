"""A recorded function: what it returns stays in one place and is overwritten."""

from __future__ import annotations

import torch

from ppo_mpi.learning.recording import Recording, recording_stream


def test_each_call_reads_what_is_there_and_writes_to_the_same_memory():
    x = torch.tensor([1.0, 2.0])
    recording = Recording(lambda: (x * 2, x.sum()), recording_stream(x.device))
    (first, total), places = recording(), [t.data_ptr() for t in recording()]
    assert first.tolist() == [2.0, 4.0]
    x.copy_(torch.tensor([5.0, 7.0]))
    again = recording()
    assert [t.data_ptr() for t in again] == places
    assert first.tolist() == [10.0, 14.0], "the last call's tensors are the next one's"
    assert total == 12.0
