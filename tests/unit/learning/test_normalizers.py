"""Running statistics against numpy over all data, and rewards against one process step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.spaces import ObservationPart, ObservationSpec
from ppo_mpi.learning.normalizers import (
    ObservationNormalizer,
    PackedNormalizer,
    RewardNormalizer,
    RewardRange,
    RunningMoments,
    job_moments,
)

COMM = Communicator()


class StepByStep:
    """Reward normalization as a vector environment in one process does it, in plain Python.

    After each step of all environments the running returns join a list of everything seen; the
    variance is taken over that whole list, with the first pseudo-sample of weight 1e-4.
    """

    def __init__(self, num_envs: int, discount: float, clip: float) -> None:
        self.returns = [0.0] * num_envs
        self.discount, self.clip = discount, clip
        self.seen: list[float] = []

    def step(self, rewards: list[float], ended: list[bool]) -> list[float]:
        for i, reward in enumerate(rewards):
            self.returns[i] = self.returns[i] * self.discount + reward
        self.seen += self.returns
        weight = len(self.seen) + 1e-4
        mean = math.fsum(self.seen) / weight  # the pseudo-sample has mean 0 ...
        squares = math.fsum((x - mean) ** 2 for x in self.seen)
        variance = (squares + 1e-4 * (1.0 + mean**2)) / weight  # ... and variance 1
        scale = math.sqrt(variance + 1e-8)
        for i, end in enumerate(ended):
            self.returns[i] = 0.0 if end else self.returns[i]
        return [min(max(reward / scale, -self.clip), self.clip) for reward in rewards]


def test_moments_are_those_of_all_data() -> None:
    random = np.random.default_rng(0)
    moments = RunningMoments((3,))
    batches = [random.standard_normal((n, 3)) * 5 + 100 for n in (1, 7, 300, 2)]
    for batch in batches:
        moments.merge(len(batch), batch.mean(0), batch.var(0))
    everything = np.concatenate(batches)
    # The first pseudo-sample weighs 1e-4 of a sample and lies 100 away.
    np.testing.assert_allclose(moments.mean, everything.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, everything.var(0), rtol=1e-3)
    assert moments.count == pytest.approx(310)


def test_moments_merge_by_hand() -> None:
    moments = RunningMoments()
    moments.mean, moments.variance, moments.count = np.array(0.0), np.array(1.0), 2.0
    moments.merge(2.0, np.array(4.0), np.array(3.0))
    assert (float(moments.mean), float(moments.variance), moments.count) == (2.0, 6.0, 4.0)


def test_moments_come_back_from_their_state() -> None:
    moments, other = RunningMoments((2,)), RunningMoments((2,))
    moments.merge(5, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    other.load_state_dict(moments.state_dict())
    for name, value in moments.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


def test_rewards_are_divided_as_if_all_were_stepped_in_one_process() -> None:
    random = np.random.default_rng(1)
    normalizer = RewardNormalizer(5, discount=0.9, clip=10.0)
    reference = StepByStep(5, discount=0.9, clip=10.0)
    for steps in (1, 8, 13):
        rewards = (random.standard_normal((steps, 5)) * 7 + 1).astype(np.float32)
        ended = random.random((steps, 5)) < 0.2
        normalized = normalizer(rewards, ended, COMM)
        expected = [
            reference.step(r.tolist(), e.tolist()) for r, e in zip(rewards, ended, strict=True)
        ]
        np.testing.assert_allclose(normalized, expected, rtol=1e-6)
        assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalizer.returns, reference.returns, rtol=1e-12)


def test_the_first_reward_by_hand() -> None:
    normalizer = RewardNormalizer(2, discount=0.5, clip=10.0)
    normalizer.moments.count = 1e-12  # no pseudo-sample to speak of
    rewards = np.array([[1.0, 3.0], [1.0, 1.0]], np.float32)
    ended = np.array([[False, True], [False, False]])
    normalized = normalizer(rewards, ended, COMM)
    # Returns 1, 3 (variance 1); then 0.5 + 1 and, after the end, 0 + 1: variance of 1 3 1.5 1.
    second = 1 / math.sqrt(np.var([1, 3, 1.5, 1]) + 1e-8)
    assert normalized.tolist() == [
        pytest.approx([1.0, 3.0]),
        pytest.approx([second, second]),
    ]
    assert normalizer.returns.tolist() == [1.5, 1.0]


def test_rewards_are_clipped_after_the_division() -> None:
    normalizer = RewardNormalizer(1, discount=0.0, clip=2.0)
    rewards = np.array([[0.1]] * 50 + [[100.0], [-100.0]], np.float32)
    normalized = normalizer(rewards, np.zeros((52, 1), bool), COMM)
    assert normalized[-2:, 0].tolist() == [2.0, -2.0]


def test_rewards_that_are_always_zero_stay_zero() -> None:
    normalizer = RewardNormalizer(3, discount=0.99, clip=10.0)
    normalized = normalizer(np.zeros((40, 3), np.float32), np.zeros((40, 3), bool), COMM)
    assert not normalized.any()


def test_observation_statistics_are_those_of_all_that_was_seen() -> None:
    random = np.random.default_rng(2)
    normalizer = ObservationNormalizer((4,), clip=10.0)
    everything = []
    for _ in range(5):
        for _ in range(20):
            obs = (random.standard_normal((3, 4)) * [1, 10, 0.1, 5] + [0, 50, -3, 1]).astype(
                np.float32
            )
            normalizer.see(obs)
            everything.append(obs)
        normalizer.update(COMM)
    data = np.concatenate(everything).astype(np.float64)
    # The first pseudo-sample (weight 1e-4, mean 0) moves the second feature's variance a little.
    np.testing.assert_allclose(normalizer.moments.mean, data.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(normalizer.moments.variance, data.var(0), rtol=1e-3)
    normalized = normalizer.normalize(data[:50].astype(np.float32))
    expected = (data[:50] - data.mean(0)) / data.std(0)
    np.testing.assert_allclose(normalized, expected, atol=1e-3)
    assert normalized.dtype == np.float32


def test_observation_statistics_stay_as_they_are_until_the_rollout_is_over() -> None:
    normalizer = ObservationNormalizer((1,), clip=10.0)
    before = normalizer.normalize(np.full((1, 1), 5.0, np.float32))
    normalizer.see(np.full((8, 1), 5.0, np.float32))
    np.testing.assert_array_equal(before, normalizer.normalize(np.full((1, 1), 5.0, np.float32)))
    normalizer.update(COMM)
    after = normalizer.normalize(np.full((1, 1), 5.0, np.float32))
    assert abs(after.item()) < 0.05 < before.item()


def test_normalized_observations_are_clipped() -> None:
    normalizer = ObservationNormalizer((1,), clip=3.0)
    normalized = normalizer.normalize(np.array([[100.0], [-100.0], [1.0]], np.float32))
    assert normalized[:, 0].tolist() == pytest.approx([3.0, -3.0, 1.0])


def test_far_away_observations_lose_no_variance_by_cancellation() -> None:
    random = np.random.default_rng(3)
    normalizer = ObservationNormalizer((1,), clip=10.0)
    normalizer.moments.count = 1e-12
    data = random.standard_normal((2, 500, 1)) + 1e6
    for half in data:
        normalizer.see(half)
        normalizer.update(COMM)
    assert float(normalizer.moments.variance[0]) == pytest.approx(data.var(), rel=1e-3)


def test_of_packed_observations_the_vectors_are_normalized_and_the_images_stay() -> None:
    spec = ObservationSpec.packed(
        (
            ObservationPart("a", (2,), "float32"),
            ObservationPart("image", (3, 3, 1), "uint8"),
            ObservationPart("b", (3,), "float32"),
        )
    )
    random = np.random.default_rng(3)
    plain, packed = ObservationNormalizer((5,), 10.0), PackedNormalizer(spec, 10.0)
    for _ in range(2):
        vectors = (random.standard_normal((7, 5)) * [1, 9, 2, 3, 4] + 5).astype(np.float32)
        images = random.integers(256, size=(7, 3, 3, 1), dtype=np.uint8)
        rows = zip(vectors, images, strict=True)
        obs = np.stack([spec.pack([v[:2], image, v[2:]]) for v, image in rows])
        before = obs.copy()
        normalized = packed.normalize(obs)
        np.testing.assert_array_equal(obs, before)
        parts = spec.unpack(normalized)
        np.testing.assert_array_equal(parts["image"], images)
        together = np.concatenate([parts["a"], parts["b"]], axis=1)
        np.testing.assert_array_equal(together, plain.normalize(vectors))
        plain.see(vectors)
        packed.see(obs)
        obs[:] = 0  # it remembers what was seen, not where
        plain.update(COMM)
        packed.update(COMM)
    for name, statistics in plain.moments.state_dict().items():
        np.testing.assert_array_equal(packed.moments.state_dict()[name], statistics)


def test_the_range_of_rewards_is_of_all_so_far_and_is_taken_up_again() -> None:
    seen = RewardRange()
    found = []
    for rewards in ([[2.0, 3.0]], [[2.5, 2.5]], [[-1.0, 7.0]]):
        seen.see(np.array(rewards, np.float32), COMM)
        found.append((seen.low, seen.high))
    assert found == [(2.0, 3.0), (2.0, 3.0), (-1.0, 7.0)]
    other = RewardRange()
    other.load_state_dict(seen.state_dict())
    other.see(np.zeros((1, 1), np.float32), COMM)
    assert (other.low, other.high, other.seen) == (-1.0, 7.0, True)
    fresh = RewardRange()
    fresh.load_state_dict(RewardRange().state_dict())
    assert not fresh.seen


def test_moments_of_the_job_are_numpys() -> None:
    columns = np.random.default_rng(3).standard_normal((2, 50)) + 1e4
    count, mean, variance = job_moments(columns, COMM)
    assert count == 50
    np.testing.assert_allclose(mean, columns.mean(1), rtol=1e-12)
    np.testing.assert_allclose(variance, columns.var(1), rtol=1e-9)


def test_observations_may_be_clipped_without_being_normalized() -> None:
    normalizer = ObservationNormalizer((2,), clip=1.5, only_clips=True)
    obs = np.array([[0.25, -9.0], [2.0, 1.5]], np.float32)
    for _ in range(2):
        normalizer.see(obs)
        normalizer.update(COMM)
        found = normalizer.normalize(obs)
        np.testing.assert_array_equal(found, np.array([[0.25, -1.5], [1.5, 1.5]], np.float32))
    assert found.dtype == np.float32
    assert normalizer.moments.count == 1e-4
