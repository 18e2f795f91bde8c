"""Independent random streams by name."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest

from ppo_mpi.seeding import generator, stream_seed


def test_equal_keys_give_equal_streams() -> None:
    first, second = generator(1, "action", 2, 3), generator(1, "action", 2, 3)
    np.testing.assert_array_equal(first.random(100), second.random(100))


def test_every_part_of_the_key_matters() -> None:
    keys: list[tuple[int, str, tuple[int, ...]]] = [
        (1, "action", (2, 3)), (2, "action", (2, 3)), (1, "reset", (2, 3)), (1, "action", (3, 2)),
        (1, "action", (2,)), (1, "action", ()), (1, "action", (2, 4)), (1, "action", (0, 2, 3)),
    ]  # fmt: skip
    draws = {tuple(generator(seed, what, *indices).random(4)) for seed, what, indices in keys}
    assert len(draws) == len(keys)


def test_streams_of_neighbors_are_not_correlated() -> None:
    draws = np.stack([generator(0, "action", index).standard_normal(4000) for index in range(20)])
    correlations = np.corrcoef(draws)[~np.eye(20, dtype=bool)]
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)


def test_stream_seeds_are_whole_numbers_that_differ() -> None:
    seeds = [stream_seed(7, "levels", index) for index in range(2000)]
    assert len(set(seeds)) == 2000
    assert all(isinstance(seed, int) and 0 <= seed < 2**31 - 1 for seed in seeds)


def test_streams_are_the_same_in_another_process() -> None:
    program = (
        "from ppo_mpi.seeding import generator, stream_seed;"
        "print(stream_seed(5, 'x', 1), generator(5, 'y').integers(2**62))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    expected = [stream_seed(5, "x", 1), int(generator(5, "y").integers(2**62))]
    assert [int(word) for word in output.split()] == expected


def test_a_seed_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        generator(-1, "action")


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**32, 2**70])
def test_a_key_is_what_numpy_makes_of_the_whole_numbers(seed: int) -> None:
    entropy = [seed, zlib.crc32(b"action"), 3, 0]
    expected = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))
    np.testing.assert_array_equal(generator(seed, "action", 3, 0).random(9), expected.random(9))
