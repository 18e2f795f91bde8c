"""Threads by affinity, precision and device."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from ppo_mpi.distributed.machine import (
    available_cores,
    choose_device,
    choose_precision,
    has_fast_bfloat16,
    set_threads,
    threads_for_rank,
)
from ppo_mpi.errors import ConfigError

CPU = torch.device("cpu")


def cores(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


@pytest.mark.parametrize(
    ("affinities", "threads"),
    [
        ([cores(0, 1, 2, 3)], [4]),  # alone
        ([cores(0, 1), cores(2, 3)], [2, 2]),  # bound to cores of their own
        ([cores(0), cores(1, 2, 3)], [1, 3]),  # unevenly
        ([cores(0, 1, 2, 3)] * 2, [2, 2]),  # unbound: they divide the node
        ([cores(0, 1, 2, 3)] * 3, [1, 1, 1]),
        ([cores(0, 1)] * 4, [1] * 4),  # more ranks than cores
        ([cores(0, 1), cores(1, 2)], [1, 1]),  # partly shared
    ],
)
def test_ranks_take_their_own_cores_or_divide_shared_ones(affinities, threads):
    assert [threads_for_rank(affinities, rank) for rank in range(len(affinities))] == threads


def test_available_cores_are_those_of_this_process():
    assert available_cores()
    if hasattr(os, "sched_getaffinity"):
        assert available_cores() == frozenset(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("asked", "environment", "threads"), [(3, "2", 3), (0, "2", 2), (0, "", 4), (0, "x", 4)]
)
def test_threads_are_as_asked_else_as_the_environment_says_else_a_share(
    asked, environment, threads, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", environment)
    before = torch.get_num_threads()
    try:
        assert set_threads(asked, [cores(0, 1, 2, 3)], 0) == threads
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("asked", "is_image", "precision"),
    [
        ("float32", True, torch.float32),
        ("bfloat16", False, torch.bfloat16),
        ("auto", False, torch.float32),
        ("auto", True, torch.bfloat16 if has_fast_bfloat16(CPU) else torch.float32),
    ],
)
def test_precision_is_as_asked_and_auto_needs_images_and_a_processor_that_has_it(
    asked, is_image, precision
):
    assert choose_precision(asked, is_image, CPU) == precision


def test_the_processor_is_taken_where_it_is_asked_for_or_nothing_else_is_there():
    assert choose_device("cpu", 3) == CPU
    if not torch.cuda.is_available():
        assert choose_device("auto", 0) == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_with_a_remedy():
    with pytest.raises(ConfigError, match=r"device=cuda: torch .* sees no GPU; use device=auto"):
        choose_device("cuda", 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_ranks_of_a_node_take_its_gpus_in_turn():
    count = torch.cuda.device_count()
    assert [choose_device("auto", rank).index for rank in range(2 * count)] == [*range(count)] * 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_blocks_are_kept_instead_of_given_back():
    program = """
import resource, sys, torch
from ppo_mpi.distributed.machine import keep_big_blocks
if sys.argv[1] == "keep":
    keep_big_blocks()
for step in range(40):
    if step == 20:  # the first ones find their places in the heap
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    fresh_pages = {
        how: int(subprocess.check_output([sys.executable, "-c", program, how], text=True))
        for how in ("keep", "give back")
    }
    # 20 x 40 MB are 195,312 pages of 4 KiB.
    assert fresh_pages["give back"] > 100_000
    assert fresh_pages["keep"] < 10_000
