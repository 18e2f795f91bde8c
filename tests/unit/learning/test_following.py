"""What followed the observations of a rollout: before any reset, and only where it is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ppo_mpi.distributed.heart import Heart
from ppo_mpi.envs.base import StepResult, VecEnvs
from ppo_mpi.envs.parts import EnvParts
from ppo_mpi.envs.probe import make_envs
from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.collector import Collector
from ppo_mpi.learning.following import following
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.rollout import Rollout
from ppo_mpi.learning.turns import TurnActor
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

STEPS, INDICES = 35, (0, 1, 2)


def make_parts(task: str, num: int) -> EnvParts:
    return EnvParts(
        [make_envs(task, tuple(i), 7, stream="train", options={})
         for i in np.array_split(INDICES, num)]
    )  # fmt: skip


def collector_of(envs: VecEnvs, normalizer: ObservationNormalizer | None) -> Collector:
    torch.manual_seed(1)
    config = NetworkConfig(network="mlp", hidden_sizes=(8,))
    model = ActorCritic(envs.obs_spec, envs.action_spec, config, torch.float32)
    arguments = (model, 7, "train", Heart(), normalizer)
    kind = TurnActor if isinstance(envs, EnvParts) else Actor
    return Collector(kind(envs, *arguments), STEPS, keeps_following=True)


def recorded(envs: VecEnvs) -> list[StepResult]:
    results: list[StepResult] = []
    step = envs.step

    def kept(actions: np.ndarray) -> StepResult:
        results.append(step(actions))
        return results[-1]

    envs.step = kept  # type: ignore[method-assign]
    return results


def near_the_end(envs: VecEnvs) -> None:
    """Put corridors into their last room but one, where one door in three ends an episode."""
    state = json.dumps({"probe": "corridor", "room": 14, "steps": 3}).encode()
    envs.set_states([state] * len(envs.indices))


def all_of(rollout: Rollout) -> tuple[np.ndarray, np.ndarray]:
    """Return what followed, [T, B, ...], and where it is known, [T, B]."""
    assert rollout.following is not None
    known = rollout.following.known
    taken = rollout.following.take(torch.arange(known.numel()))
    return taken.view_as(rollout.obs).numpy(), known.numpy()


def test_rows_by_hand():
    obs = torch.arange(6.0).view(3, 2, 1)
    ended = torch.tensor([[False, True], [True, False], [False, False]])
    found = following(obs, torch.tensor([[60.0], [61.0]]), ended, [(1, 0)], torch.tensor([[90.0]]))
    assert found.known.tolist() == [[True, False], [True, True], [True, True]]
    assert found.take(torch.tensor([0, 2, 3, 4, 5]))[:, 0].tolist() == [2, 90, 5, 60, 61]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("task", ["match", "terminal", "corridor", "corridor-image"])
def test_what_followed_is_what_the_step_brought(task: str, normalize: bool):
    envs = make_envs(task, INDICES, 7, stream="train", options={})
    normalizer = None
    if normalize and not envs.obs_spec.is_image:
        normalizer = ObservationNormalizer(envs.obs_spec.shape, 10.0)
        normalizer.moments.merge(10, np.full(envs.obs_spec.shape, 0.3), np.full((), 4.0))
    collector = collector_of(envs, normalizer)
    results = recorded(envs)
    if task == "corridor":
        near_the_end(envs)
        collector.actor.started = True
    taken, known = all_of(collector.collect(0, True))
    kinds = set()
    for t, result in enumerate(results):
        for slot in range(len(INDICES)):
            expected = result.obs[slot]
            if result.truncated[slot]:
                expected = result.final_obs[slot]
            elif result.terminated[slot]:
                expected = result.last_obs.get(slot)
            kinds.add((bool(result.truncated[slot]), bool(result.terminated[slot])))
            assert known[t, slot] == (expected is not None)
            if expected is not None:
                if normalizer is not None:
                    expected = normalizer.normalize(expected[None])[0]
                np.testing.assert_array_equal(taken[t, slot], expected)
    assert (task == "terminal") == ((False, True) in kinds and not known.any())
    if task == "corridor":
        assert (False, True) in kinds, "one came to the end"


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_environments_in_turns_give_the_same(turns: int):
    together, in_turn = make_envs("corridor", INDICES, 7, options={}), make_parts("corridor", turns)
    found = []
    for envs in (together, in_turn):
        near_the_end(envs)
        collector = collector_of(envs, None)
        collector.actor.started = True
        found.append(collector.collect(0, True))
        assert found[-1].terminated[:, 1:].any()
    for one, other in zip(*map(all_of, found), strict=True):
        np.testing.assert_array_equal(one, other)


def test_behind_an_environment_that_was_made_anew_nothing_is_known():
    envs = make_envs("match", INDICES, 7, stream="train", options={})
    step = envs.step

    def failing(actions: np.ndarray) -> StepResult:
        result = step(actions)
        truncated = result.truncated | (np.arange(3) == 1)
        final_obs = {slot: result.obs[slot] for slot in np.flatnonzero(truncated).tolist()}
        return replace(
            result, truncated=truncated, final_obs=final_obs, dropped=frozenset([1])
        )  # fmt: skip

    envs.step = failing  # type: ignore[method-assign]
    rollout = collector_of(envs, None).collect(0, True)
    _, known = all_of(rollout)
    assert known.all(0).tolist() == [True, False, True]
    assert not known[:, 1].any()
    assert rollout.following is not None
    assert rollout.following.ended[:, 1].all()
    assert not rollout.following.reported[:, 1].any()
    others = rollout.following.ended[:, [0, 2]]
    assert others.any()
    assert torch.equal(rollout.following.reported[:, [0, 2]], others)


def test_what_follows_a_lost_life_is_known_though_learning_takes_it_for_an_end():
    envs = make_envs("match", INDICES, 7, stream="train", options={})
    step = envs.step

    def mortal(actions: np.ndarray) -> StepResult:
        result = step(actions)
        last_obs = {2: np.full_like(result.obs[2], 0.25)}  # as where the suite went on by itself
        return replace(result, life_lost=np.array([False, True, True]), last_obs=last_obs)

    envs.step = mortal  # type: ignore[method-assign]
    rollout = collector_of(envs, None).collect(0, True)
    taken, known = all_of(rollout)
    assert known.all()
    assert rollout.terminated[:, 1:].all()
    assert rollout.following is not None
    assert not rollout.following.ended[:-1, 1].numpy().all()
    went_on = ~rollout.following.ended[:-1, 1].numpy()
    np.testing.assert_array_equal(taken[:-1, 1][went_on], rollout.obs[1:, 1].numpy()[went_on])
    assert (taken[:, 2][~rollout.following.ended[:, 2].numpy()] == 0.25).all()


def test_without_a_reward_model_nothing_is_kept():
    envs = make_envs("match", INDICES, 7, stream="train", options={})
    collector = Collector(collector_of(envs, None).actor, STEPS)
    assert collector.collect(0, True).following is None
