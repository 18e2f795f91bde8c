"""Each transform against a slow version of one image at a time, written from its definition."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from ppo_mpi.learning.augmentations import AUGMENTATIONS, HUE_SHIFT, whole
from ppo_mpi.settings.augmentation import AugmentationName

NUM = 12


def number(draw: float, num: int) -> int:
    return min(num - 1, math.floor(np.float32(draw) * np.float32(num)))


def share(published: int, size: int) -> int:
    return max(1, round(published * size / 64))


def slow_crop(image: np.ndarray, draws: list[float]) -> np.ndarray:
    height, width, _ = image.shape
    down, right = share(12, height), share(12, width)
    wide = np.pad(image, ((down, down), (right, right), (0, 0)), mode="edge")
    top, left = number(draws[0], 2 * down + 1), number(draws[1], 2 * right + 1)
    return wide[top : top + height, left : left + width]


def slow_translate(image: np.ndarray, draws: list[float]) -> np.ndarray:
    height, width, _ = image.shape
    most = share(5, height), share(5, width)
    down, right = (number(draws[i], 2 * most[i] + 1) - most[i] for i in range(2))
    out = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row + down < height and 0 <= column + right < width:
                out[row + down, column + right] = image[row, column]
    return out


def slow_cutout(image: np.ndarray, draws: list[float], color: int | list[int] = 0) -> np.ndarray:
    out = image.copy()
    begins, ends = [], []
    for axis in range(2):
        size = image.shape[axis]
        least, most = share(7, size), share(21, size)
        length = least + number(draws[axis], most - least + 1)
        begins.append(number(draws[2 + axis], size - length + 1))
        ends.append(begins[-1] + length)
    out[begins[0] : ends[0], begins[1] : ends[1]] = color
    return out


def slow_cutout_color(image: np.ndarray, draws: list[float]) -> np.ndarray:
    return slow_cutout(image, draws, [number(draw, 256) for draw in draws[4:]])


def slow_color_jitter(image: np.ndarray, draws: list[float]) -> np.ndarray:
    contrast, brightness, saturation = (0.6 + 0.8 * draw for draw in draws[:3])
    shift = (2 * draws[3] - 1) * HUE_SHIFT
    x = image / 255
    mean = x.mean((0, 1))
    x = np.clip(mean + contrast * (x - mean), 0, 1)
    out = np.empty_like(x)
    for place in np.ndindex(image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*x[place])
        h, s, v = (h + shift) % 1, min(1, s * saturation), min(1, v * brightness)
        out[place] = colorsys.hsv_to_rgb(h, s, v)
    return np.rint(out * 255)


def slow_grayscale(image: np.ndarray, draws: list[float]) -> np.ndarray:
    gray = np.rint(image @ np.array([0.299, 0.587, 0.114]))
    return np.repeat(gray[..., None], 3, 2)


def slow_flip(image: np.ndarray, draws: list[float]) -> np.ndarray:
    return image[:, ::-1] if draws[0] < 0.5 else image


def slow_rotate(image: np.ndarray, draws: list[float]) -> np.ndarray:
    return np.rot90(image, number(draws[0], 4))


def slow_random_convolution(image: np.ndarray, draws: list[float]) -> np.ndarray:
    normal = NormalDist(0, math.sqrt(2 / 54))
    kernel = np.array([normal.inv_cdf(draw) for draw in draws]).reshape(3, 3, 3, 3)
    height, width, _ = image.shape
    around = np.pad(image / 255, ((1, 1), (1, 1), (0, 0)))
    out = np.empty(image.shape)
    for row in range(height):
        for column in range(width):
            window = around[row : row + 3, column : column + 3]
            out[row, column] = np.einsum("ocyx,yxc->o", kernel, window)
    return np.rint(255 / (1 + np.exp(-out)))


SLOW: dict[str, Callable[[np.ndarray, list[float]], np.ndarray]] = {
    name: globals()[f"slow_{name}"] for name in AUGMENTATIONS
}
ROUNDED = {"color_jitter", "grayscale", "random_convolution"}
"""Whose pixels are rounded from numbers: half a unit may fall to either side."""
CASES = [(name, size) for name in AUGMENTATIONS for size in ((64, 64), (20, 20))]
CASES += [(name, (11, 27)) for name, own in AUGMENTATIONS.items() if not own.needs_square]


def images_of(size: tuple[int, int], channels: int = 3) -> Tensor:
    """Return noise, but for an image of few colors, one of one color, and one of two."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (NUM, *size, channels), dtype=torch.uint8, generator=generator)
    images[0] = images[0] // 100 * 100
    images[1] = 77
    images[2, :, : size[1] // 2], images[2, :, size[1] // 2 :] = 0, 255
    return images


def draws_of(name: str, num: int = NUM) -> Tensor:
    """Return uniform draws, with the smallest and the largest that there are among them."""
    generator = torch.Generator().manual_seed(2)
    draws = torch.rand(num, AUGMENTATIONS[name].num_draws, generator=generator)
    draws[3], draws[4] = 2.0**-24, 1 - 2.0**-24
    return draws


@pytest.mark.parametrize(("name", "size"), CASES)
def test_a_transform_is_its_definition(name: str, size: tuple[int, int]):
    images, draws = images_of(size), draws_of(name)
    before = images.clone()
    found = AUGMENTATIONS[name].transform(images, draws)
    assert torch.equal(images, before), "what was seen stays as it was"
    assert (found.dtype, found.shape) == (torch.uint8, images.shape)
    assert found.is_contiguous()
    for i in range(NUM):
        expected = SLOW[name](images[i].numpy(), draws[i].double().tolist())
        difference = np.abs(found[i].numpy().astype(int) - expected.astype(int))
        assert difference.max() <= (1 if name in ROUNDED else 0)
        assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("name", [n for n, own in AUGMENTATIONS.items() if not own.needs_color])
def test_frames_one_behind_the_other_change_alike(name: str):
    images = images_of((84, 84), 4)
    draws = draws_of(name)
    found = AUGMENTATIONS[name].transform(images, draws)
    for channel in range(4):
        one = AUGMENTATIONS[name].transform(images[..., channel : channel + 1].clone(), draws)
        assert torch.equal(found[..., channel : channel + 1], one)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_looks_the_same_whatever_is_beside_it(name: str):
    images, draws = images_of((64, 64)), draws_of(name)
    together = AUGMENTATIONS[name].transform(images, draws)
    alone = [
        AUGMENTATIONS[name].transform(*one)
        for one in zip(images.split(1), draws.split(1), strict=True)
    ]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_images_are_no_problem(name: str):
    own = AUGMENTATIONS[name]
    none = torch.empty(0, 64, 64, 3, dtype=torch.uint8)
    found = own.transform(none, torch.empty(0, own.num_draws))
    assert found.shape == (0, 64, 64, 3)


def test_mirrored_twice_and_turned_four_times_is_as_before():
    images = images_of((20, 20))
    twice = images
    for _ in range(2):
        twice = AUGMENTATIONS["flip"].transform(twice, torch.zeros(NUM, 1))
    assert torch.equal(twice, images)
    turned = images
    for times in range(4):
        assert torch.equal(turned, images) == (times == 0)
        turned = AUGMENTATIONS["rotate"].transform(turned, torch.full((NUM, 1), 0.3))
    assert torch.equal(turned, images)


def test_in_the_middle_nothing_moves_and_no_color_changes():
    images = images_of((64, 64))
    half = torch.full((NUM, 4), 0.5)
    for name in ("crop", "translate"):
        assert torch.equal(AUGMENTATIONS[name].transform(images, half[:, :2]), images)
    assert torch.equal(AUGMENTATIONS["color_jitter"].transform(images, half), images)
    gray = AUGMENTATIONS["grayscale"].transform(images, half[:, :0])
    assert torch.equal(AUGMENTATIONS["grayscale"].transform(gray, half[:, :0]), gray)


def test_a_rectangle_is_cut_within_the_published_sizes():
    white = torch.full((2_000, 64, 64, 3), 255, dtype=torch.uint8)
    random = torch.rand(2_000, 4, generator=torch.Generator().manual_seed(0))
    is_black = AUGMENTATIONS["cutout"].transform(white, random)[..., 0] == 0
    heights = is_black.any(2).sum(1)
    widths = is_black.any(1).sum(1)
    assert torch.equal(is_black.sum((1, 2)), heights * widths)
    for sides in (heights, widths):
        assert sorted(set(sides.tolist())) == list(range(7, 22))
    assert is_black.any((0, 2)).all(), "every row can be hidden"
    assert is_black.any((0, 1)).all(), "every column can be hidden"


def test_whole_numbers_are_equally_likely_and_below_their_end():
    draws = torch.arange(2**16) / 2**16
    assert torch.equal(whole(draws, 4).bincount(), torch.full((4,), 2**14))
    assert whole(torch.tensor([1 - 2.0**-24]), 25).tolist() == [24]


def test_the_settings_know_every_transform():
    assert get_args(AugmentationName) == ("none", *AUGMENTATIONS, "ucb")
