"""Memory that two mappings share, whatever the system calls it."""

from __future__ import annotations

import os

import numpy as np
import pytest

from ppo_mpi.envs import shared_arrays
from ppo_mpi.envs.shared_arrays import STEP_FIELDS, Layout, SharedArrays, new_memory

LAYOUT = Layout(num_envs=3, num_workers=2, obs_shape=(5, 7), obs_dtype="uint8")


@pytest.mark.parametrize("has_memfd", [True, False])
def test_what_one_mapping_writes_the_other_reads(has_memfd: bool, monkeypatch: pytest.MonkeyPatch):
    if not has_memfd:
        monkeypatch.delattr(shared_arrays.os, "memfd_create", raising=False)
    file = new_memory()
    one, two = SharedArrays(file, LAYOUT), SharedArrays(file, LAYOUT)
    os.close(file)
    for number, (name, (shape, dtype)) in enumerate(LAYOUT.entries().items()):
        assert one[name].shape == shape
        assert one[name].dtype == dtype
        one[name][...] = number + 1
    for number, name in enumerate(LAYOUT.entries()):  # none lies over another
        np.testing.assert_array_equal(two[name], np.full_like(two[name], number + 1))
    assert set(STEP_FIELDS) < set(LAYOUT.entries())


def test_the_memory_has_no_name():
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    file = new_memory()
    SharedArrays(file, LAYOUT)
    assert os.fstat(file).st_nlink == 0
    os.close(file)
    if before:
        assert not [name for name in set(os.listdir("/dev/shm")) - before if "ppo_mpi" in name]
