"""What is taken of an expert's data: spaces, episodes, every so many-th step, its identity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from expert import VECTOR, trajectories

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.spaces import (
    ActionSpec,
    Box,
    Composite,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    ObservationSpec,
)
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.experts import Expert, chosen, load_expert
from ppo_mpi.settings.imitation import ImitationConfig
from ppo_mpi.storage.expert_data import ExpertEpisodes
from ppo_mpi.storage.trajectories import write_trajectories

OWN = trajectories((50, 7, 60))
EPISODES = ExpertEpisodes(
    OWN.observations, OWN.actions, OWN.episode_bounds, OWN.rewards, OWN.metadata
)


def take(
    episodes: ExpertEpisodes = EPISODES,
    spec: ActionSpec = Discrete(3),
    seed: int = 0,
    **values: Any,
) -> Expert:
    config = ImitationConfig(expert_data="e.npz", **values)
    return chosen(episodes, config, seed, VECTOR, spec)


def test_all_of_it_is_taken_by_default():
    expert = take()
    assert np.array_equal(expert.obs, OWN.observations)
    assert np.array_equal(expert.actions, OWN.actions)
    assert expert.bounds.tolist() == [0, 50, 57, 117]
    mean = OWN.rewards.sum() / 3
    assert expert.summary == f"3 episodes of 117 steps from e.npz; mean return {mean:,.1f}"


def test_the_first_episodes_are_taken_and_every_so_manyth_step_of_each():
    expert = take(expert_episodes=2, expert_subsample=20)
    (first,) = np.flatnonzero((OWN.observations == expert.obs[0]).all(1))
    assert 0 <= first < 20
    second = 50 + next(r for r in range(7) if (OWN.observations[50 + r] == expert.obs[-1]).all())
    rows = [*range(first, 50, 20), second]
    assert np.array_equal(expert.obs, OWN.observations[rows])
    assert np.array_equal(expert.actions, OWN.actions[rows])
    assert expert.bounds.tolist() == [0, len(rows) - 1, len(rows)]
    starts = {float(take(seed=s, expert_subsample=20).obs[0, 0]) for s in range(20)}
    assert len(starts) > 5


def test_the_identity_is_of_what_is_learned_from():
    assert take().identity == take(seed=5).identity
    other = OWN.observations.copy()
    other[3, 1] += 1e-3
    assert take().identity != take(replace(EPISODES, observations=other)).identity
    assert take().identity != take(expert_episodes=1).identity
    assert len(take().identity) == 64


COMPOSITE = Composite((Discrete(3), Box((-1.0,), (1.0,))))


@pytest.mark.parametrize(
    ("actions", "spec", "expected"),
    [
        (OWN.actions[:, None].astype(np.float64), Discrete(3), OWN.actions),
        (np.full((117, 2), 7, np.float64), Box((-1, -1), (1, 9)), [[1, 7]] * 117),
        (np.full((117, 2), 1, np.uint8), MultiDiscrete((2, 3)), [[1, 1]] * 117),
        (np.full((117, 2), True), MultiBinary(2), [[1, 1]] * 117),
        (np.full((117, 2), 2.0), COMPOSITE, [[2, 1]] * 117),
    ],
)
def test_actions_become_what_the_environment_takes(
    actions: np.ndarray, spec: ActionSpec, expected: Any
):
    expert = take(replace(EPISODES, actions=actions), spec)
    assert expert.actions.dtype == spec.dtype
    assert np.array_equal(expert.actions, expected)


@pytest.mark.parametrize(
    ("actions", "spec"),
    [
        (OWN.actions, Discrete(2)),
        (OWN.actions - 1, Discrete(3)),
        (OWN.actions + 0.5, Discrete(4)),
        (np.full((117, 2), 2), MultiDiscrete((3, 2))),
        (np.full((117, 2), 2), MultiBinary(2)),
        (np.full((117, 1), np.nan), Box((-1.0,), (1.0,))),
        (np.full((117, 2), 2.5), COMPOSITE),
    ],
)
def test_actions_that_the_environment_does_not_have_are_refused(
    actions: np.ndarray, spec: ActionSpec
):
    with pytest.raises(ConfigError, match=r"expert_data=e.npz has actions that .* does not have"):
        take(replace(EPISODES, actions=actions), spec)


def test_other_spaces_are_refused():
    with pytest.raises(ConfigError, match=r"has actions of \(\) int64, but the environment takes"):
        take(spec=Box((0.0,), (1.0,)))
    config = ImitationConfig(expert_data="e.npz")
    for spec in (ObservationSpec((4,), "float32"), ObservationSpec((3,), "uint8")):
        with pytest.raises(ConfigError, match=r"has observations of \(3,\) float32, but the env"):
            chosen(EPISODES, config, 0, spec, Discrete(3))
    no_facts = replace(EPISODES, metadata={})
    with pytest.raises(ConfigError, match="has observations of float32, not uint8"):
        chosen(no_facts, config, 0, ObservationSpec((3,), "uint8"), Discrete(3))
    bad = OWN.observations.copy()
    bad[5] = np.inf
    with pytest.raises(ConfigError, match="observations that are NaN or infinite"):
        take(replace(EPISODES, observations=bad))
    with pytest.raises(ConfigError, match="expert_episodes=4, but e.npz has 3; use 3, or 0 for"):
        take(expert_episodes=4)


def test_other_data_than_those_of_the_beginning_are_refused(tmp_path):
    write_trajectories(tmp_path / "e.npz", OWN, clobber=False)
    config = ImitationConfig(expert_data=str(tmp_path / "e.npz"))
    load = lambda expected: load_expert(  # noqa: E731
        config, 0, VECTOR, Discrete(3), Communicator(), expected
    )
    identity = load("").identity
    assert load(identity).identity == identity
    with pytest.raises(ConfigError, match="is not what the run began with .* not ffffffffffff"):
        load("f" * 64)
