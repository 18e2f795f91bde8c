"""The choice of a transform against a slow version written from the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppo_mpi.errors import CheckpointError
from ppo_mpi.learning.augmentation_choice import AugmentationChoice


def slow_choices(returns: list[float], num: int, coef: float, window: int) -> list[int]:
    """Return the choice before each return, from the whole history every time."""
    chosen: list[int] = []
    for t in range(len(returns)):
        bounds = []
        for arm in range(num):
            # The return after update i is that of the rollout collected next.
            own = [returns[i + 1] for i in range(t) if chosen[i] == arm]
            bounds.append(
                np.mean(own[-window:]) + coef * math.sqrt(math.log(t) / len(own))
                if own
                else math.inf
            )
        chosen.append(int(np.argmax(bounds)))
    return chosen


@pytest.mark.parametrize(("coef", "window"), [(0.1, 10), (1.0, 3), (0.0, 1)])
def test_it_chooses_as_a_version_does_that_looks_at_the_whole_history(coef: float, window: int):
    returns = np.random.default_rng(4).normal(1.0, 0.3, 300).tolist()
    choice = AugmentationChoice(5, coef, window)
    found = [choice.choose(one) for one in returns]
    assert found == slow_choices(returns, 5, coef, window)
    assert set(found) == set(range(5))


def test_it_finds_the_transform_after_which_returns_are_best_and_notices_when_that_changes():
    best = 2
    choice, last, found = AugmentationChoice(4, 0.1, 10), 0.0, []
    for t in range(400):
        if t == 200:
            best = 1
        found.append(choice.choose(last))
        last = 1.0 if found[-1] == best else 0.8
    assert found[100:200].count(2) > 60
    assert found[300:].count(1) > 60


def test_what_a_checkpoint_holds_goes_on_as_if_nothing_had_happened():
    returns = np.random.default_rng(0).normal(size=60).tolist()
    whole = AugmentationChoice(3, 0.5, 4)
    expected = [whole.choose(one) for one in returns]
    for cut in (0, 1, 2, 17, 59):
        first, second = AugmentationChoice(3, 0.5, 4), AugmentationChoice(3, 0.5, 4)
        found = [first.choose(one) for one in returns[:cut]]
        second.load_state_dict(first.state_dict())
        assert found + [second.choose(one) for one in returns[cut:]] == expected


@pytest.mark.parametrize(
    ("name", "value"), [("counts", -1.0), ("counts", 0.5), ("chosen", 3.0), ("chosen", 0.5)]
)
def test_a_state_that_no_choice_can_have_is_refused(name: str, value: float):
    choice = AugmentationChoice(3, 0.1, 10)
    state = choice.state_dict()
    state[name] = np.full_like(state[name], value)
    with pytest.raises(CheckpointError, match="the choice of augmentations has counts="):
        choice.load_state_dict(state)
