"""A sample looks the same wherever its environment lives and however its minibatch is split."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.envs.spaces import ObservationPart
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.augmentations import AUGMENTATIONS
from ppo_mpi.learning.augmenting import Augmenter, make_augmenter, transforms_for
from ppo_mpi.learning.rollout import Batch, Minibatch, Rollout, microbatches
from ppo_mpi.seeding import generator
from ppo_mpi.settings.augmentation import AugmentationConfig

COMM = Communicator()
CPU = torch.device("cpu")
COLOR = ObservationSpec((64, 64, 3), "uint8")
GRAY = ObservationSpec((84, 84, 4), "uint8")
VECTOR = ObservationSpec((5,), "float32")
PACKED = ObservationSpec.packed(
    [
        ObservationPart("front", (20, 30, 3), "uint8"),
        ObservationPart("speed", (3,), "float32"),
        ObservationPart("back", (16, 16, 3), "uint8"),
    ]
)
STEPS, ENVS, SEED = 5, 6, 8


def batch_of(obs: Tensor) -> Batch:
    numbers = torch.zeros(obs.shape[:2])
    none = np.zeros(tuple(obs.shape[:2]))
    rollout = Rollout(obs, numbers.long(), numbers, numbers, numbers, none, none, none)
    return Batch(rollout, numbers, numbers)


def images() -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(256, (STEPS, ENVS, 64, 64, 3), dtype=torch.uint8, generator=random)


def augmenter_for(name: str, spec: ObservationSpec = COLOR) -> Augmenter:
    config = AugmentationConfig(augmentation=name)  # type: ignore[arg-type]
    return Augmenter(spec, config, SEED, CPU)


def seen(
    augmenter: Augmenter, obs: Tensor, indices: tuple[int, ...], size: int, iteration: int = 3
) -> Tensor:
    """Return all observations [T, B, ...] as an epoch sees them."""
    batch = batch_of(obs)
    augmenter.begin(batch.returns, indices, iteration, 1, COMM)
    order = torch.randperm(batch.returns.numel(), generator=torch.Generator().manual_seed(size))
    found = torch.empty_like(obs).flatten(0, 1)
    for minibatch in microbatches(batch, order, size):
        assert minibatch.samples is not None
        found[minibatch.samples] = augmenter(minibatch)
    return found.view_as(obs)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_draws_belong_to_environment_and_step(name: str):
    obs = images()
    together = seen(augmenter_for(name), obs, tuple(range(ENVS)), 0)
    part = seen(augmenter_for(name), obs[:, 2:5].contiguous(), (2, 3, 4), 7)
    assert torch.equal(together[:, 2:5], part)
    assert not torch.equal(together, obs)
    if AUGMENTATIONS[name].num_draws:
        assert not torch.equal(together, seen(augmenter_for(name), obs, tuple(range(ENVS)), 0, 4))


def test_the_draws_are_those_of_the_seed_the_iteration_the_epoch_and_the_environment():
    obs = images()
    found = seen(augmenter_for("flip"), obs, (10, 11, 12, 13, 14, 15), 4)
    for slot in range(ENVS):
        draws = generator(SEED, "augmentation", 3, 1, 10 + slot).random(STEPS, np.float32)
        for step in range(STEPS):
            image = obs[step, slot]
            expected = image.flip(1) if draws[step] < 0.5 else image
            assert torch.equal(found[step, slot], expected)


def test_of_images_beside_vectors_the_images_change_and_the_numbers_stay():
    random = np.random.default_rng(1)
    rows = []
    for _ in range(STEPS * ENVS):
        front, back = (
            random.integers(256, size=s, dtype=np.uint8) for s in ((20, 30, 3), (16, 16, 3))
        )
        rows.append(PACKED.pack([front, random.normal(size=3), back]))
    obs = torch.from_numpy(np.stack(rows)).view(STEPS, ENVS, -1)
    found = seen(augmenter_for("flip", PACKED), obs, tuple(range(ENVS)), 4).flatten(0, 1)
    before, after = PACKED.unpack(np.stack(rows)), PACKED.unpack(found.numpy())
    np.testing.assert_array_equal(after["speed"], before["speed"])
    mirrored = [
        np.array_equal(a, b[:, ::-1]) for a, b in zip(after["front"], before["front"], strict=True)
    ]
    assert 0 < sum(mirrored) < len(rows)
    for i, is_mirrored in enumerate(mirrored):
        for name in ("front", "back"):
            expected = before[name][i][:, ::-1] if is_mirrored else before[name][i]
            np.testing.assert_array_equal(after[name][i], expected)


def test_a_minibatch_of_no_rollout_can_be_changed():
    numbers = torch.zeros(4)
    minibatch = Minibatch(images()[0, :4], numbers, numbers, numbers, numbers, numbers)
    assert augmenter_for("crop")(minibatch).shape == (4, 64, 64, 3)


def test_the_choice_takes_the_returns_and_is_told_by_its_number():
    config = AugmentationConfig(augmentation="ucb", ucb_choices=("flip", "rotate", "grayscale"))
    augmenter = Augmenter(COLOR, config, SEED, CPU)
    batch = batch_of(images())
    names, numbers = [], []
    for iteration in range(8):
        brought = 1.0 if names and names[-1] == "rotate" else 0.0
        own = replace(batch, returns=batch.returns + brought)
        for epoch in range(2):
            augmenter.begin(own.returns, tuple(range(ENVS)), iteration, epoch, COMM)
        names.append(augmenter.name)
        numbers.append(augmenter.metrics()["augmentation"])
    assert names == ["flip", "rotate", "grayscale", *["rotate"] * 5]
    assert numbers == [1.0 + list(AUGMENTATIONS).index(name) for name in names]
    assert augmenter_for("flip").metrics() == {}
    assert augmenter.description().endswith(": 7 flip, 8 rotate, 6 grayscale")
    assert augmenter_for("flip").description().endswith("by flip")


def test_the_choices_are_those_that_fit():
    config = AugmentationConfig(augmentation="ucb")
    assert transforms_for(COLOR, config) == tuple(AUGMENTATIONS)
    assert transforms_for(GRAY, config) == ("crop", "translate", "cutout", "flip", "rotate")
    wide = ObservationSpec((20, 30, 3), "uint8")
    assert set(AUGMENTATIONS) - set(transforms_for(wide, config)) == {"rotate"}
    assert transforms_for(PACKED, config) == transforms_for(wide, config)


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (
            GRAY, {"augmentation": "color_jitter"},
            "augmentation=color_jitter needs red, green and blue, but the environment's images are "
            "84 x 84 x 4; use one of crop, translate, cutout, flip, rotate",
        ),
        (
            GRAY, {"augmentation": "ucb", "ucb_choices": ("crop", "grayscale")},
            "ucb_choices=grayscale needs red, green and blue",
        ),
        (
            PACKED, {"augmentation": "rotate"},
            "augmentation=rotate needs square images, but the environment's images are "
            "20 x 30 x 3, 16 x 16 x 3; use one of crop",
        ),
        (
            VECTOR, {"augmentation": "crop"},
            "augmentation=crop changes images, but the environment shows none; use "
            "augmentation=none",
        ),
    ],
)  # fmt: skip
def test_transforms_that_do_not_fit_are_refused_with_those_that_do(spec, values, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_augmenter(AugmentationConfig(**values), spec, SEED, CPU)


def test_nothing_is_made_where_nothing_is_changed():
    assert make_augmenter(AugmentationConfig(), VECTOR, SEED, CPU) is None
