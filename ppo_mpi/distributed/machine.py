"""What the processor, the memory allocator and the devices of this rank are told to do."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ppo_mpi.errors import ConfigError


def threads_for_rank(affinities: Sequence[frozenset[int]], local_rank: int) -> int:
    """Return how many threads one rank of a node should use.

    Ranks bound to cores of their own use those; ranks that share cores divide them. Two ranks
    that both take all cores are several times slower than two that take half each.

    Args:
        affinities: the cores that each rank of the node may run on, by local rank.
        local_rank: which of them is asked for.

    Returns:
        at least 1.
    """
    union = frozenset[int]().union(*affinities)
    if sum(len(cores) for cores in affinities) == len(union):
        return max(1, len(affinities[local_rank]))
    return max(1, len(union) // len(affinities))


def available_cores() -> frozenset[int]:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def set_threads(asked: int, affinities: Sequence[frozenset[int]], local_rank: int) -> int:
    """Set torch's threads: as asked, else by OMP_NUM_THREADS, else the rank's part of its node."""
    from_environment = os.environ.get("OMP_NUM_THREADS", "")
    if asked:
        threads = asked
    elif from_environment.isdigit() and int(from_environment) > 0:
        threads = int(from_environment)
    else:
        threads = threads_for_rank(affinities, local_rank)
    torch.set_num_threads(threads)
    return threads


def keep_big_blocks() -> None:
    """Tell glibc to keep freed big blocks instead of giving them back to the system.

    Activations of a training step are freed and taken again at once; fresh pages would be filled
    with zeros each time, which was measured at a fifth of a step. Does nothing elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # Numbers from malloc.h: M_TRIM_THRESHOLD -1, M_TOP_PAD -2, M_MMAP_MAX -4.
    mallopt(-4, 0)
    mallopt(-1, 2**31 - 1)
    mallopt(-2, 64 * 2**20)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies matrices in bfloat16 at more than float32's speed."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def choose_precision(asked: str, is_image: bool, device: torch.device) -> torch.dtype:
    """Return the torso's arithmetic for ``precision=auto|float32|bfloat16``."""
    if asked == "bfloat16":
        return torch.bfloat16
    if asked == "auto" and is_image and has_fast_bfloat16(device):
        return torch.bfloat16
    return torch.float32


def use_device(device: torch.device, is_exact: bool, is_deterministic: bool) -> None:
    """Make a device the current one and set its arithmetic, before anything is computed.

    Args:
        device: of this rank.
        is_exact: whether float32 was asked for: no TF32 in convolutions, which torch allows.
        is_deterministic: whether the same bits were asked for.
    """
    if is_deterministic:
        torch.use_deterministic_algorithms(True)
    # Whole microbatches go to threads; within one several would change the last bits. On a GPU,
    # each thread that steps environments would start a team of its own.
    torch.set_num_threads(1)
    if device.type == "cuda":
        if is_deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Streams, events and recordings belong to the current device, not to a tensor's.
        torch.cuda.set_device(device)
        torch.backends.cudnn.allow_tf32 = not is_exact


def choose_device(asked: str, local_rank: int) -> torch.device:
    """Return this rank's device: the GPU with its local rank's number, else the processor.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"device={asked}: torch {torch.__version__} sees no GPU; use device=auto or device=cpu"
        )
    return torch.device("cuda", local_rank % torch.cuda.device_count())
