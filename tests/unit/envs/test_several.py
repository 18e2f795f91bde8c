"""Several games as one vector: the same as each of them alone, however they are dealt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.probe import make_envs
from ppo_mpi.envs.several import SeveralEnvs, game_of
from ppo_mpi.errors import CheckpointError, ConfigError

GAMES = ("constant", "terminal", "constant")


def make(game: str, indices: Sequence[int]) -> VecEnvs:
    return make_envs(game, indices, 3, stream="train", render=False, options={})


def same_row(whole: StepResult, slot: int, alone: StepResult) -> None:
    for name in ("obs", "rewards", "terminated", "truncated", "levels"):
        np.testing.assert_array_equal(getattr(whole, name)[slot], getattr(alone, name)[0], name)
    assert (slot in whole.final_obs) == (0 in alone.final_obs)
    if slot in whole.final_obs:
        np.testing.assert_array_equal(whole.final_obs[slot], alone.final_obs[0])
    assert (slot in whole.last_obs) == (0 in alone.last_obs)


@pytest.mark.parametrize("indices", [range(8), range(3, 8), [5], [0, 2]])
def test_each_environment_is_what_it_is_alone(indices: Sequence[int]) -> None:
    envs = SeveralEnvs(GAMES, indices, make)
    alone = [make(game_of(i, GAMES), [i]) for i in indices]
    assert envs.indices == tuple(indices)
    np.testing.assert_array_equal(envs.reset(), np.concatenate([own.reset() for own in alone]))
    random, ends = np.random.default_rng(0), 0
    for _ in range(60):
        actions = random.integers(1, size=len(alone))
        result = envs.step(actions)
        for slot, own in enumerate(alone):
            same_row(result, slot, own.step(actions[slot : slot + 1]))
        np.testing.assert_array_equal(envs.observe(), result.obs)
        ends += int((result.terminated | result.truncated).sum())
    assert ends


def test_states_go_to_any_other_vector_with_the_same_indices() -> None:
    one = SeveralEnvs(GAMES, range(8), make)
    one.reset()
    actions = np.random.default_rng(1).integers(1, size=(30, 8))
    for row in actions[:10]:
        one.step(row)
    states = one.get_states()
    halves = [SeveralEnvs(GAMES, range(3), make), SeveralEnvs(GAMES, range(3, 8), make)]
    assert halves[0].set_states(states[:3]) == halves[1].set_states(states[3:]) == []
    for row in actions[10:]:
        whole, low, high = one.step(row), halves[0].step(row[:3]), halves[1].step(row[3:])
        np.testing.assert_array_equal(whole.obs, np.concatenate([low.obs, high.obs]))
        np.testing.assert_array_equal(whole.rewards, np.concatenate([low.rewards, high.rewards]))


def test_slots_without_a_state_begin_afresh_and_are_named() -> None:
    envs = SeveralEnvs(GAMES, range(5), make)
    envs.reset()
    states = envs.get_states()
    states[1] = states[2] = None
    assert envs.set_states(states) == [1, 2]
    with pytest.raises(CheckpointError):
        envs.set_states([states[4], *states[1:4], states[3]])  # a state of another game


def test_an_assigned_episode_is_its_slots() -> None:
    envs, alone = SeveralEnvs(GAMES, range(8), make), make("constant", [5])
    envs.assign(5, 77, None)
    alone.assign(0, 77, None)
    np.testing.assert_array_equal(envs.reset()[5], alone.reset()[0])
    with pytest.raises(IndexError, match="slot 8 is not one of 8"):
        envs.assign(8, 0, None)


def test_games_that_do_not_agree_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="box has other .* than constant: .*full_action_space=true"
    ):
        SeveralEnvs(("constant", "box"), range(2), make)
    with pytest.raises(ConfigError, match="box has other"):  # on a rank that has none of them, too
        SeveralEnvs(("constant", "box"), [], make)
