"""Independent random streams by name: (seed, what, indices) -> generator.

Everything random in a job is drawn either per environment, from a stream keyed by the
environment's index in the whole job, or from a stream that all ranks share. Where an environment
lives, and how many ranks there are, then changes nothing.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, what: str, *indices: int) -> np.random.Generator:
    """Return the stream for one purpose.

    Args:
        seed: the job's seed, >= 0.
        what: the purpose, for example ``"action"``; its CRC-32 becomes part of the key.
        indices: whole numbers >= 0 that tell streams of one purpose apart, for example the
            environment's whole-job index and the iteration.

    Returns:
        a counter-based generator (Philox); equal arguments give equal streams in every process.
    """
    entropy: list[int] | np.ndarray = [seed, zlib.crc32(what.encode()), *indices]
    if min(entropy) >= 0 and max(entropy) < 2**32:
        entropy = np.array(entropy, np.uint32)  # the same stream in two thirds of the time
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def stream_seed(seed: int, what: str, *indices: int) -> int:
    """Return a seed in [0, 2**31 - 1) for code that takes a number instead of a generator."""
    return int(generator(seed, what, *indices).integers(2**31 - 1))
