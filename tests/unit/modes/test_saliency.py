"""Saliency and value curves against slow versions and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_mpi.modes.drawing import INK, PAPER
from ppo_mpi.modes.saliency import BLUE, RED, blurred, saliency_picture, value_curve


def test_the_blur_is_a_mean_with_normal_weights_mirrored_at_the_edges() -> None:
    picture = np.random.default_rng(0).normal(size=(7, 9))
    weights = {d: np.exp(-(d**2) / 50) for d in range(-2, 3)}
    total = sum(weights.values())

    def mirrored(i: int, size: int) -> int:
        return -i if i < 0 else 2 * (size - 1) - i if i >= size else i

    expected = np.zeros_like(picture)
    for row in range(7):
        for column in range(9):
            for down, vertical in weights.items():
                for right, horizontal in weights.items():
                    there = picture[mirrored(row + down, 7), mirrored(column + right, 9)]
                    expected[row, column] += vertical * horizontal / total**2 * there
    np.testing.assert_allclose(blurred(picture), expected, rtol=1e-12)


@pytest.mark.parametrize(("sign", "color"), [(1.0, BLUE), (-1.0, RED)])
def test_what_raises_the_value_is_blue_and_what_lowers_it_red(sign: float, color: int) -> None:
    obs = np.full((20, 20, 3), 100, np.uint8)
    gradient = np.zeros((20, 20, 3), np.float32)
    gradient[10, 10] = sign * 1e-4
    found = saliency_picture(obs, gradient)
    others = [channel for channel in range(3) if channel != color]
    assert set(np.unique(found[..., others])) == {20}  # a fifth of 100
    spread = found[..., color].astype(int) - 20
    assert (spread > 0).sum() == 25
    # 9 * 255 over 5 x 5 pixels, a little more in the middle: 92 on average.
    assert spread[8:13, 8:13].mean() == pytest.approx(9 * 255 / 25, abs=0.5)
    assert spread[10, 10] == spread.max()
    # Colors are relative: a derivative a thousand times as large looks the same.
    np.testing.assert_array_equal(found, saliency_picture(obs, gradient * 1000))


def test_a_value_that_depends_on_nothing_has_no_colors() -> None:
    obs = np.full((10, 10, 4), 50, np.uint8)
    obs[..., 3] = 250  # of stacked frames the newest is shown
    assert set(np.unique(saliency_picture(obs, np.zeros((10, 10, 4), np.float32)))) == {50}


def test_channels_that_pull_apart_cancel() -> None:
    gradient = np.zeros((10, 10, 3), np.float32)
    gradient[5, 5] = (1.0, -1.0, 0.0)
    assert saliency_picture(np.zeros((10, 10, 3), np.uint8), gradient).max() == 0


def test_the_curve_ends_at_the_right_at_the_height_of_the_newest_value() -> None:
    strip = value_curve(160, [0.0, 10.0, 5.0], 0.0, 10.0)
    assert strip.shape == (20, 160, 3)
    ink = (strip == INK).all(axis=2)
    assert np.flatnonzero(ink.any(axis=0)).tolist() == list(range(154, 160))
    assert np.flatnonzero(ink[:, 155]).tolist() == [19]
    assert ink[:, 156].all()  # up from the lower to the upper edge
    assert np.flatnonzero(ink[:, 159]).tolist() == [10]
    assert (strip[:19, :150] == PAPER).all()
    assert (strip[19, :150] == 60).all()  # the line of 0


def test_only_the_newest_values_have_room_and_values_stay_inside() -> None:
    strip = value_curve(64, [0.0] * 500 + [99.0], -1.0, 1.0)
    assert strip.shape == (8, 64, 3)
    ink = (strip == INK).all(axis=2)
    assert ink.any(axis=0).all()
    assert ink[0, 62:].all()
    assert value_curve(64, [3.0], 3.0, 3.0).shape == (8, 64, 3)
