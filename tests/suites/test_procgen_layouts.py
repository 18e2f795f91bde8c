"""Levels that are laid out alike are one level: what is done in them has the same consequences."""

from __future__ import annotations

import numpy as np
import pytest

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.procgen_layouts import level_prints, same_levels
from ppo_mpi.suites import make_envs

pytest.importorskip("procgen", reason="procgen is not installed")

PAIRS = 16
STEPS = 300
ACTIONS = (7, 7, 8, 5, 6, 1, 4)
"""Mostly to the right, with jumps: nearly every episode ends within the time."""


@pytest.mark.parametrize(("game", "mode"), [("coinrun", "hard"), ("coinrun", "easy"),
                                            ("ninja", "easy"), ("maze", "easy")])  # fmt: skip
def test_two_levels_of_one_layout_play_alike(game, mode):
    config = with_values(TrainConfig(), {"env": game, "distribution_mode": mode})
    envs = make_envs(config, range(2 * PAIRS), 0, "x", held_out=True)
    known, new = range(200), range(200, 500)
    known_prints, prints = level_prints(envs, known), level_prints(envs, new)
    assert known_prints is not None
    assert prints is not None
    pairs = list(same_levels(new, prints, known, known_prints).items())[:PAIRS]
    assert len(pairs) == PAIRS
    for k, (level, (twin, _)) in enumerate(pairs):
        envs.assign(2 * k, 0, level)
        envs.assign(2 * k + 1, 0, twin)
    envs.reset()
    random, alive, ended = np.random.default_rng(0), np.ones(PAIRS, bool), 0
    for _ in range(STEPS):
        result = envs.step(np.repeat(random.choice(ACTIONS, size=PAIRS), 2).astype(np.int64))
        for values in (result.rewards, result.terminated):
            assert np.array_equal(values[::2][alive], values[1::2][alive])
        ended += int((alive & result.terminated[::2]).sum())
        alive &= ~result.terminated[::2]
    envs.close()
    assert ended > PAIRS // 2
