"""What is said before an expert is cloned."""

from __future__ import annotations

import pytest

from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.modes.cloning import moved_statistics


@pytest.mark.parametrize(
    ("normalizer", "steps", "is_warned"),
    [
        (ObservationNormalizer((3,), 10.0), 800, True),
        (ObservationNormalizer((3,), 10.0), 2048, False),
        (ObservationNormalizer((3,), 10.0, only_clips=True), 800, False),
        (None, 800, False),
    ],
)
def test_few_steps_of_an_expert_beside_normalized_observations_are_warned_of(
    normalizer: ObservationNormalizer | None, steps: int, is_warned: bool
):
    text = moved_statistics(normalizer, steps, 2048)
    assert ("the expert's 800 steps weigh less than the first rollout's 2,048" in text) == is_warned
    assert bool(text) == is_warned
