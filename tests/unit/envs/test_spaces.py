"""Specs of spaces: packed observations, and what every action space says of itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from spaces import random_actions

from ppo_mpi.envs.base import Box, Composite, Discrete, MultiBinary, MultiDiscrete, ObservationSpec
from ppo_mpi.envs.spaces import ObservationPart, clipped, columns_of, num_columns

PARTS = (
    ObservationPart("camera", (5, 3, 3), "uint8"),
    ObservationPart("speed", (3,), "float32"),
    ObservationPart("depth", (2, 2, 1), "uint8"),
    ObservationPart("place", (2,), "float32"),
)
PACKED = ObservationSpec.packed(PARTS)
COMPOSITE = Composite((Discrete(3), Box((-1.0, 0.0), (1.0, math.inf)), MultiBinary(2)))


def some_values(rng: np.random.Generator) -> list[np.ndarray]:
    return [
        rng.integers(256, size=part.shape, dtype=np.uint8)
        if part.is_image
        else rng.standard_normal(part.shape).astype(np.float32)
        for part in PARTS
    ]


def test_a_packed_row_is_all_vectors_then_the_images_up_to_a_multiple_of_16_bytes():
    values = some_values(np.random.default_rng(0))
    row = PACKED.pack(values)
    expected = values[1].tobytes() + values[3].tobytes() + values[0].tobytes() + values[2].tobytes()
    assert (4 * 5 + 45 + 4, len(row)) == (len(expected), 80)
    assert row.tobytes() == expected + bytes(11)
    assert (PACKED.shape, PACKED.dtype) == ((80,), "uint8")
    assert PACKED.places == (20, 0, 65, 12)


def test_what_was_packed_is_unpacked_by_views():
    rng = np.random.default_rng(1)
    values = [some_values(rng) for _ in range(4)]
    obs = np.stack([PACKED.pack(own) for own in values])
    for rows, own in ((obs, values), (obs[1:3], values[1:3]), (obs[::2], values[::2])):
        unpacked = PACKED.unpack(rows)
        assert list(unpacked) == ["camera", "speed", "depth", "place"]
        for i, part in enumerate(unpacked.values()):
            np.testing.assert_array_equal(part, np.stack([row[i] for row in own]))
            assert np.shares_memory(part, obs)
    vectors = PACKED.vectors(obs)
    np.testing.assert_array_equal(vectors[2], np.concatenate([values[2][1], values[2][3]]))
    vectors[:] = 7
    assert (PACKED.unpack(obs)["place"] == 7).all()
    np.testing.assert_array_equal(PACKED.unpack(obs)["camera"][3], values[3][0])
    np.testing.assert_array_equal(PACKED.picture(obs[1]), values[1][0])


def test_specs_say_whether_there_are_images_and_how_many_numbers():
    image, vector = ObservationSpec((5, 4, 3), "uint8"), ObservationSpec((6,), "float32")
    cameras = ObservationSpec.packed(PARTS[::2])
    for spec, is_image, has_images, size in (
        (image, True, True, 0), (vector, False, False, 6), (PACKED, False, True, 5),
        (cameras, False, True, 0),
    ):  # fmt: skip
        found = (spec.is_image, spec.has_images, spec.vector_size)
        assert found == (is_image, has_images, size)
        obs = np.zeros((2, *spec.shape), spec.dtype)
        assert spec.vectors(obs).shape == (2, size)
        assert spec.vectors(obs).dtype == np.float32
    obs = np.zeros((2, 6), np.float32)
    assert vector.vectors(obs) is obs
    assert vector.picture(obs) is obs


@pytest.mark.parametrize(
    ("spec", "outputs", "noise", "shape", "dtype", "reals"),
    [
        (Discrete(5), 5, 1, (), "int64", 0),
        (MultiDiscrete((2, 3, 4)), 9, 3, (3,), "int64", 0),
        (MultiBinary(4), 4, 4, (4,), "int64", 0),
        (Box((-1.0, 0.0), (1.0, 1.0)), 2, 2, (2,), "float32", 2),
        (COMPOSITE, 7, 5, (5,), "float32", 2),
    ],
)
def test_every_action_space_says_what_an_action_is(spec, outputs, noise, shape, dtype, reals):
    assert (spec.num_outputs, spec.noise_size, spec.num_reals) == (outputs, noise, reals)
    assert (spec.action_shape, spec.dtype) == (shape, dtype)
    assert num_columns(spec) == math.prod(shape)
    actions = random_actions(spec, np.random.default_rng(0), 6)
    assert (actions.shape, actions.dtype) == ((6, *shape), dtype)


def test_only_the_numbers_of_boxes_are_clipped_wherever_they_stand():
    actions = np.array([[2, 9, -9, 1, 0], [1, -3, 1e6, 0, 1]], np.float32)
    assert clipped(COMPOSITE, actions).tolist() == [[2, 1, 0, 1, 0], [1, -1, 1e6, 0, 1]]
    whole = np.array([[0, 7], [3, 1]])
    assert clipped(MultiDiscrete((4, 8)), whole) is whole
    parts = [own.tolist() for _, own in columns_of(COMPOSITE, actions[:1])]
    assert parts == [[[2]], [[9, -9]], [[1, 0]]]
