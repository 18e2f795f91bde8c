"""Corruptions by hand and by their statistics; environments behind them, wherever they live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest

pytest.importorskip("cv2")

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.corruption_blurs import disk, streak, zoomed
from ppo_mpi.envs.corruption_weather import cloud, ice
from ppo_mpi.envs.corruptions import CORRUPTIONS, corrupted
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.seeding import generator
from ppo_mpi.settings.corruption import Corruption, CorruptionConfig
from ppo_mpi.suites import make_envs

RANDOM = np.random.default_rng


def scene(size: int = 64, channels: int = 3) -> np.ndarray:
    """Return a picture with an edge, a slope and some texture."""
    rows, columns = np.mgrid[:size, :size]
    picture = np.stack([rows * 2 + 40, columns * 2 + 60, (rows > size // 2) * 120 + 50], 2)
    texture = RANDOM(0).integers(0, 40, (size, size, 1))
    picture = np.concatenate([picture + texture, picture[..., :1]], 2)[..., :channels]
    return np.clip(picture, 0, 255).astype(np.uint8)


def flat(value: int) -> np.ndarray:
    return np.full((64, 64, 3), value, np.uint8)


def test_the_settings_names_are_those_that_there_are() -> None:
    assert set(get_args(Corruption)) == {"none", *CORRUPTIONS}
    with pytest.raises(ConfigError, match="corruption_severity=6 is out of range; use 1 to 5"):
        CorruptionConfig("fog", 6).check()


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("size", "channels"), [(64, 3), (84, 4), (84, 1)])
@pytest.mark.parametrize("severity", [1, 5])
def test_the_same_draws_give_the_same_other_picture(
    name: str, size: int, channels: int, severity: int
) -> None:
    picture = scene(size, channels)
    before = picture.copy()
    one = corrupted(picture, name, severity, generator(1, "x", 2))
    assert (one.shape, one.dtype) == (picture.shape, np.uint8)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(one, corrupted(picture, name, severity, generator(1, "x", 2)))
    if not (name == "saturate" and channels != 3):  # gray has no saturation
        assert np.abs(one.astype(int) - picture).mean() > 0.5


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise",
                                  "defocus_blur", "gaussian_blur", "contrast",
                                  "brightness", "jpeg_compression", "motion_blur"])  # fmt: skip
def test_more_severe_is_further_from_the_picture(name: str) -> None:
    picture = scene().astype(float)
    changes = [
        np.mean([np.abs(corrupted(scene(), name, s, RANDOM(k)) - picture).mean() for k in range(8)])
        for s in range(1, 6)
    ]
    assert changes == sorted(changes)
    assert changes[4] > 1.1 * changes[0]


def test_noise_has_the_deviation_that_the_paper_gives() -> None:
    # 12,288 numbers: the deviation of a deviation is 0.6 %, of a share at most 0.5 %.
    noisy = corrupted(flat(128), "gaussian_noise", 1, RANDOM(0)) / 255
    assert noisy.std() == pytest.approx(0.08, rel=0.04)
    shot = corrupted(flat(102), "shot_noise", 1, RANDOM(0)) / 255
    assert shot.mean() == pytest.approx(0.4, abs=0.005)
    assert shot.var() == pytest.approx(0.4 / 60, rel=0.06)
    speckled = corrupted(flat(102), "speckle_noise", 2, RANDOM(0)) / 255
    assert speckled.std() == pytest.approx(0.4 * 0.2, rel=0.04)
    salted = corrupted(flat(128), "impulse_noise", 5, RANDOM(0))
    assert (salted == 0).mean() == pytest.approx(0.135, abs=0.015)
    assert (salted == 255).mean() == pytest.approx(0.135, abs=0.015)
    assert (salted == 128).mean() == pytest.approx(0.73, abs=0.02)


def test_color_by_hand() -> None:
    picture = flat(100)
    picture[:32] = 200  # mean 150
    spoiled = corrupted(picture, "contrast", 1, RANDOM(0))
    assert set(np.unique(spoiled)) == {130, 170}  # 150 -+ 0.4 * 50
    assert set(np.unique(corrupted(flat(100), "brightness", 2, RANDOM(0)))) == {151}  # + 0.2 * 255
    red = np.zeros((64, 64, 3), np.uint8)
    red[...] = (200, 100, 100)  # saturation 1/2, then 0.15: the others are 200 * 0.85
    assert corrupted(red, "saturate", 1, RANDOM(0))[0, 0].tolist() == [200, 170, 170]


def test_pixels_by_hand() -> None:
    picture = scene()
    spoiled = corrupted(picture, "pixelate", 5, RANDOM(0))  # a quarter: blocks of 4 x 4
    blocks = picture.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(spoiled.reshape(16, 4, 16, 4, 3) - blocks[:, None, :, None]).max() <= 1
    poor, good = (corrupted(picture, "jpeg_compression", s, RANDOM(0)) for s in (5, 1))
    assert np.abs(good.astype(int) - picture).max() < 100
    assert not np.array_equal(poor, good)


def test_kernels_by_hand() -> None:
    kernel = disk(4, 0.5)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert kernel[8, 8] == pytest.approx(1 / 49, rel=1e-3)  # 49 points lie within 4 of the middle
    assert kernel[8, 8 + 7] == 0
    ray = streak(2, 1.0, 0.0)
    assert ray.sum() == pytest.approx(1.0, abs=1e-6)
    weights = np.exp(-(np.arange(5.0) ** 2) / 2)
    np.testing.assert_allclose(ray[4, 4:], weights / weights.sum(), rtol=1e-6)
    assert streak(2, 1.0, -90.0)[8, 4] > 0  # down is further on in rows
    picture = scene().astype(np.float32)
    np.testing.assert_allclose(zoomed(picture, 1.0), picture, atol=1e-3)
    point = np.zeros((65, 65, 3), np.float32)
    point[32, 32] = 1
    assert zoomed(point, 3.0)[32, 32, 0] == pytest.approx(1.0)  # the middle stays where it is
    assert zoomed(point, 3.0).sum() > 8 * point.sum()


def test_clouds_and_ice_are_drawn_anew_within_their_range() -> None:
    for size in ((64, 64), (84, 84), (5, 7)):
        one, other = cloud(*size, 2.0, RANDOM(0)), cloud(*size, 2.0, RANDOM(1))
        assert one.shape == size
        assert one.min() == 0.0
        assert one.max() == pytest.approx(1.0)
        assert not np.allclose(one, other)
        pane = ice(*size, RANDOM(0))
        assert pane.shape == (*size, 3)
        assert 0 <= pane.min() < pane.max() <= 1.0
    # A slower decay leaves more of the fine octaves.
    rough, smooth = (np.abs(np.diff(cloud(64, 64, d, RANDOM(3)))).mean() for d in (1.4, 2.5))
    assert rough > smooth


def test_stacked_frames_are_corrupted_alike() -> None:
    picture = np.repeat(scene(84, 1), 4, axis=2)
    for name in ("gaussian_noise", "fog", "motion_blur"):
        spoiled = corrupted(picture, name, 3, RANDOM(0))
        np.testing.assert_array_equal(spoiled, np.repeat(spoiled[..., :1], 4, axis=2))


def make(indices: Sequence[int], name: str = "impulse_noise", env: str = "starpilot") -> VecEnvs:
    pytest.importorskip("procgen")
    values = {"env": env, "corruption": name, "corruption_severity": 3}
    return make_envs(with_values(TrainConfig(), values), indices, 5, "train")


def test_an_environment_is_seen_the_same_in_any_vector_and_anew_at_each_step() -> None:
    whole, parts = make(range(4)), [make([1]), make([0, 2, 3])]
    clean = make(range(4), "none")
    obs, plain = whole.reset(), clean.reset()
    first = [part.reset() for part in parts]
    np.testing.assert_array_equal(obs[[1, 0, 2, 3]], np.concatenate(first))
    spoiled = []
    for step in range(60):
        actions = np.array([(step + i) % 15 for i in range(4)])
        result, expected = whole.step(actions), clean.step(actions)
        seen = [parts[0].step(actions[[1]]).obs, parts[1].step(actions[[0, 2, 3]]).obs]
        np.testing.assert_array_equal(result.obs[[1, 0, 2, 3]], np.concatenate(seen))
        np.testing.assert_array_equal(whole.observe(), result.obs)
        np.testing.assert_array_equal(result.rewards, expected.rewards)
        spoiled.append(result.obs != expected.obs)
    share = np.mean(spoiled)
    assert 0.07 < share < 0.1  # 9 % of the numbers, of which few were 0 or 255 before
    assert not np.array_equal(spoiled[0], spoiled[1])
    assert not np.array_equal(spoiled[0][0], spoiled[0][1])
    assert not np.array_equal(obs, plain)


def test_saved_environments_are_seen_as_they_would_have_been() -> None:
    one, other = make(range(3)), make(range(3))
    one.reset()
    actions = np.arange(3)
    for _ in range(20):
        one.step(actions)
    other.reset()
    assert other.set_states(one.get_states(), 7) == []
    np.testing.assert_array_equal(other.observe(), one.observe())
    for _ in range(20):
        np.testing.assert_array_equal(other.step(actions).obs, one.step(actions).obs)
    assert make(range(1)).set_states([None], 7) == [0]
    with pytest.raises(CheckpointError, match="has no count of its corrupted pictures"):
        make(range(1)).set_states([b"short"])


def test_an_assigned_episode_is_seen_the_same_in_any_environment() -> None:
    one, two = make([0]), make([3, 5])
    first = [envs.reset()[-1] for envs in (one, two)]
    assert not np.array_equal(*first)  # levels and draws of their own
    for envs in (one, two):
        envs.assign(len(envs.indices) - 1, 11, 4)
    states = two.get_states()
    again = make([3, 5])
    assert again.set_states(states) == []
    seen = [envs.reset()[-1] for envs in (one, two, again)]
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    for step in range(20):
        obs = [envs.step(np.full(len(envs.indices), step % 15)).obs for envs in (one, two)]
        np.testing.assert_array_equal(obs[0][0], obs[1][1])
    two.assign(1, 12, 4)  # begins when this one ends
    ended = False
    while not ended:
        result = two.step(np.zeros(2, np.int64))
        ended = bool(result.terminated[1])
    np.testing.assert_array_equal(result.obs[1], make_first(12, 4))


def make_first(seed: int, level: int) -> np.ndarray:
    envs = make([7])
    envs.assign(0, seed, level)
    return envs.reset()[0]


def test_an_assigned_episode_is_seen_the_same_in_any_environment_whatever_was_before() -> None:
    alone, several = make([0]), make([7, 3])
    alone.assign(0, 11, 4)
    obs = alone.reset()[0]
    several.reset()
    for _ in range(5):
        several.step(np.array([4, 4]))
    several.assign(1, 11, 4)
    ended = False
    while not ended:
        result = several.step(np.array([4, 9]))
        ended = bool(result.terminated[1])
    np.testing.assert_array_equal(result.obs[1], obs)
    again = make([0, 1])
    again.reset()
    own = again.set_states([None, several.get_states()[1]])
    assert own == [0]
    np.testing.assert_array_equal(again.observe()[1], obs)
    done = False
    while not done:
        step = alone.step(np.array([9]))
        result, restored = several.step(np.array([4, 9])), again.step(np.array([4, 9]))
        done = bool(step.terminated[0])
        assert done == bool(result.terminated[1])
        if not done:  # what comes next was assigned to nobody
            np.testing.assert_array_equal(result.obs[1], step.obs[0])
            np.testing.assert_array_equal(restored.obs[1], step.obs[0])


def test_without_pictures_there_is_nothing_to_corrupt() -> None:
    with pytest.raises(ConfigError, match="corruption=fog, but the observations are no pictures"):
        make(range(1), "fog", "CartPole-v1")
