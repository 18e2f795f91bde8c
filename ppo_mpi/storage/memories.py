"""What a policy remembers of running episodes, as a checkpoint holds it.

A memory lies beside its environment's state, under a key of its own, as float32 in little-endian
bytes. Axes: B environments on this rank; S numbers of a memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ppo_mpi.errors import CheckpointError

_STATE = re.compile(r"(train|test)/(\d+)", re.ASCII)
_MEMORY = re.compile(r"(train|test)_memory/.*", re.ASCII)
_NUMBER = np.dtype("<f4")


def memory_key(split: str, index: int) -> str:
    """Return the name of an environment's memory in a checkpoint."""
    return f"{split}_memory/{index:06d}"


def stored_memories(split: str, indices: Sequence[int], memory: np.ndarray) -> dict[str, bytes]:
    """Return the entries for memories [B, S] of the environments with these whole-job indices."""
    if not memory.shape[1]:
        return {}
    return {
        memory_key(split, index): own.astype(_NUMBER).tobytes()
        for index, own in zip(indices, memory, strict=True)
    }


def loaded_memories(
    split: str, indices: Sequence[int], size: int, environments: Mapping[str, bytes]
) -> np.ndarray:
    """Return memories [B, S] float32; 0 where a checkpoint holds none.

    Args:
        split: train or test.
        indices: whole-job indices of the environments.
        size: S.
        environments: the checkpoint's, checked.
    """
    memory = np.zeros((len(indices), size), np.float32)
    for own, index in zip(memory, indices, strict=True):
        stored = environments.get(memory_key(split, index))
        if stored is not None:
            own[:] = np.frombuffer(stored, _NUMBER)
    return memory


def check_memories(whose: str, environments: Mapping[str, bytes], size: int) -> None:
    """Check that there is a memory of the right size for each environment, and no other.

    Args:
        whose: for messages.
        environments: the checkpoint's states, memories and whatever else, by their keys.
        size: S, of the model that its config describes.

    Raises:
        CheckpointError: there is none, one too many, or one that holds something else.
    """
    expected = set()
    for key in environments:
        match = _STATE.fullmatch(key)
        if match is not None and size:
            expected.add(memory_key(match[1], int(match[2])))
    # Beside states and memories there may be an environment's part of a phase.
    found = {key for key in environments if _MEMORY.fullmatch(key)}
    for verb, keys in (("lacks", expected - found), ("also has", found - expected)):
        if keys:
            raise CheckpointError(
                f"{whose} does not hold what its config says: of the policy's memories, it {verb} "
                f"{min(keys)!r}; use a checkpoint that was written by ppo_mpi"
            )
    for key in sorted(found):
        num_bytes = len(environments[key])
        if num_bytes != size * _NUMBER.itemsize:
            raise CheckpointError(
                f"{whose} has {key} of {num_bytes} bytes, where its config says {size} numbers of "
                f"{_NUMBER.itemsize}; use a checkpoint that was written by ppo_mpi"
            )
        if not np.isfinite(np.frombuffer(environments[key], _NUMBER)).all():
            raise CheckpointError(
                f"{whose} has {key} with a NaN or an infinity in it; use an older one"
            )
