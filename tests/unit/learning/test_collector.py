"""One rank's share of a rollout: what is stored, and where values are bootstrapped from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import Heart
from ppo_mpi.envs.base import StepResult
from ppo_mpi.envs.probe import TASKS, ProbeEnvs, make_envs
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.collector import Collector
from ppo_mpi.learning.episodes import gather_episodes
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.schedules import continues_episodes
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

STEPS = 25  # two and a half episodes of ten steps


def make_collector(
    task: str = "match",
    indices: tuple[int, ...] = (0, 1, 2),
    normalizer: ObservationNormalizer | None = None,
    split: str = "train",
    workers: Workers | None = None,
) -> Collector:
    envs = make_envs(task, indices, 7, stream=split, options={})
    torch.manual_seed(1)
    config = NetworkConfig(network="mlp", hidden_sizes=(8,))
    model = ActorCritic(envs.obs_spec, envs.action_spec, config, torch.float32)
    return Collector(Actor(envs, model, 7, split, Heart(), normalizer, workers), STEPS)


def recorded(collector: Collector) -> list[StepResult]:
    """Let the environments' results be kept as they come."""
    results: list[StepResult] = []
    envs = collector.actor.envs
    step = envs.step

    def kept(actions: np.ndarray) -> StepResult:
        results.append(step(actions))
        return results[-1]

    envs.step = kept  # type: ignore[method-assign]
    return results


@torch.no_grad()
def values_of(collector: Collector, obs: np.ndarray) -> torch.Tensor:
    return collector.actor.model(torch.from_numpy(obs))[1]


@pytest.mark.parametrize(
    "task", ["match", "terminal", "box", "image", "multi_binary", "dict", "picture_and_vector"]
)
def test_a_rollout_holds_what_was_seen_done_and_given(task):
    collector = make_collector(task)
    results = recorded(collector)
    rollout = collector.collect(0, True)
    for t, result in enumerate(results):
        np.testing.assert_array_equal(rollout.rewards[t], result.rewards)
        np.testing.assert_array_equal(rollout.terminated[t], result.terminated)
        np.testing.assert_array_equal(rollout.truncated[t], result.truncated)
        if t + 1 < STEPS:
            np.testing.assert_array_equal(rollout.obs[t + 1].numpy(), result.obs)
    with torch.no_grad():
        distribution, values = collector.actor.model(rollout.obs.flatten(0, 1))
        log_probs = distribution.log_prob(rollout.actions.flatten(0, 1))
    torch.testing.assert_close(rollout.values.flatten(), values)
    torch.testing.assert_close(rollout.log_probs.flatten(), log_probs)


def test_the_wait_for_the_environments_is_measured(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    collector = make_collector()
    envs, step, reset, act = collector.actor.envs, ProbeEnvs.step, ProbeEnvs.reset, Actor.act

    def slow(seconds, function):
        def slowly(*arguments):
            now[0] += seconds
            return function(*arguments)

        return slowly

    monkeypatch.setattr(ProbeEnvs, "step", slow(2.0, step))
    monkeypatch.setattr(ProbeEnvs, "reset", slow(9.0, reset))
    monkeypatch.setattr(Actor, "act", slow(0.5, act))
    assert isinstance(envs, ProbeEnvs)
    collector.collect(0, True)
    assert collector.actor.engine_seconds == 9.0 + 2.0 * STEPS
    collector.collect(1, True)
    assert collector.actor.engine_seconds == 2.0 * STEPS


def test_a_truncated_episode_bootstraps_from_its_true_last_observation():
    collector = make_collector("match")
    results = recorded(collector)
    rollout = collector.collect(0, True)
    cut = [(t, slot) for t, result in enumerate(results) for slot in result.final_obs]
    assert cut == [(t, slot) for t in (9, 19) for slot in range(3)]
    differs = False
    for t, result in enumerate(results):
        for slot in range(3):
            obs = result.final_obs.get(slot, result.obs[slot])
            expected = values_of(collector, obs[None])[0]
            torch.testing.assert_close(rollout.next_values[t, slot], expected)
            differs |= slot in result.final_obs and not np.array_equal(obs, result.obs[slot])
    assert differs, "no final observation differs from the first one of the next episode"


def test_the_last_step_of_a_rollout_can_be_the_one_that_is_cut():
    collector = make_collector("match")
    collector.actor.begin(0, 10, True)
    results = recorded(collector)
    short = Collector(collector.actor, 10)
    rollout = short.collect(0, True)
    final = np.stack([results[9].final_obs[slot] for slot in range(3)])
    torch.testing.assert_close(rollout.next_values[9], values_of(collector, final))


def test_rollouts_continue_episodes_or_begin_fresh_ones():
    collector = make_collector("match")
    collector.collect(0, True)
    continued = collector.collect(1, True)
    assert np.flatnonzero(continued.truncated[:, 0]).tolist() == [4, 14, 24]
    fresh = collector.collect(2, False)
    assert np.flatnonzero(fresh.truncated[:, 0]).tolist() == [9, 19]
    episodes = collector.actor.episodes
    assert [episode.length for episode in episodes] == [10] * 6
    # The curves count iterations from 1: a resumed run cuts them at its checkpoint's iteration.
    assert {episode.iteration for episode in episodes} == {3}


def test_an_episode_longer_than_a_rollout_is_seen_to_its_end_with_soft_resets_only(monkeypatch):
    monkeypatch.setitem(TASKS, "match", replace(TASKS["match"], max_steps=3 * STEPS + 5))
    soft, hard, scheduled = (make_collector("match") for _ in range(3))
    seen: dict[str, list[int]] = {"soft": [], "hard": [], "scheduled": []}
    for iteration in range(8):
        later = continues_episodes("scheduled", 0.5, iteration / 8)
        for name, collector, continued in (
            ("soft", soft, True), ("hard", hard, False), ("scheduled", scheduled, later),
        ):  # fmt: skip
            collector.collect(iteration, continued)
            seen[name] += [episode.length for episode in collector.actor.episodes]
    assert seen["soft"] == [3 * STEPS + 5] * 6  # three environments, two episodes each
    assert seen["hard"] == []
    # It goes on with the episode that the third rollout has begun.
    assert seen["scheduled"] == [3 * STEPS + 5] * 3


@pytest.mark.parametrize("task", ["match", "box"])
def test_what_an_environment_does_depends_on_its_index_only(task):
    whole = make_collector(task, (0, 1, 2, 3), workers=Workers(1))
    parts = [make_collector(task, indices, workers=Workers(1)) for indices in [(0,), (1, 2), (3,)]]
    for iteration in range(2):
        all_of_it = whole.collect(iteration, True)
        shares = [part.collect(iteration, True) for part in parts]
        for name in ("obs", "actions", "log_probs", "values", "next_values"):
            joined = torch.cat([getattr(share, name) for share in shares], dim=1)
            assert torch.equal(joined, getattr(all_of_it, name)), name
        joined_rewards = np.concatenate([share.rewards for share in shares], axis=1)
        np.testing.assert_array_equal(joined_rewards, all_of_it.rewards)


def test_actions_differ_between_iterations_environments_and_splits():
    collector, test = make_collector("box"), make_collector("box", split="test")
    first = collector.collect(0, True).actions.clone()
    assert not torch.equal(first, collector.collect(1, True).actions)
    assert not torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first, test.collect(0, True).actions)


def test_observations_are_normalized_by_statistics_that_stand_still_during_a_rollout():
    normalizer = ObservationNormalizer((3,), clip=10.0)
    collector = make_collector("match", normalizer=normalizer)
    results = recorded(collector)
    collector.collect(0, True)
    normalizer.update(Communicator())
    results.clear()
    first = collector.actor.envs.observe()
    rollout = collector.collect(1, True)
    raw = np.stack([first, *(result.obs for result in results[:-1])])
    expected = np.stack([normalizer.normalize(obs) for obs in raw])
    np.testing.assert_array_equal(rollout.obs.numpy(), expected)
    final = normalizer.normalize(np.stack([results[4].final_obs[slot] for slot in range(3)]))
    torch.testing.assert_close(rollout.next_values[4], values_of(collector, final))
    assert float(normalizer.moments.count) == pytest.approx(3 * STEPS + 1e-4)


def test_a_reward_that_is_not_finite_is_named_with_its_iteration(monkeypatch):
    collector = make_collector("match")
    step = ProbeEnvs.step

    def broken(self: ProbeEnvs, actions: np.ndarray) -> StepResult:
        result = step(self, actions)
        result.rewards[1] = np.inf
        return result

    monkeypatch.setattr(ProbeEnvs, "step", broken)
    with pytest.raises(NonFiniteError, match="environment 1 is inf in step 1 of iteration 5"):
        collector.collect(4, True)


def test_a_value_that_is_not_finite_is_named_with_its_iteration():
    collector = make_collector("match")
    with torch.no_grad():
        collector.actor.model.value_head.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="a value of environment 0 is nan in step 1"):
        collector.collect(2, True)


def test_episodes_are_sorted_by_environment_and_then_by_time():
    collector, test = make_collector("match"), make_collector("match", (0, 1), split="test")
    collector.collect(0, True)
    test.actor.play(0, STEPS, True)
    records = gather_episodes(collector.actor.episodes + test.actor.episodes, Communicator())
    assert [(r.split, r.env) for r in records] == [
        *(("train", env) for env in (0, 0, 1, 1, 2, 2)),
        *(("test", env) for env in (0, 0, 1, 1)),
    ]
    assert all(r.length == 10 and 0 <= r.episode_return <= 10 for r in records)


def test_a_rank_without_test_environments_plays_nothing():
    collector = make_collector("match", (), split="test")
    collector.actor.play(0, STEPS, True)
    assert collector.actor.episodes == []


def test_what_is_learned_from_is_the_number_before_it_is_squashed_into_the_bounds():
    envs = make_envs("tight_box", (0, 1, 2), 7, stream="train", options={})
    torch.manual_seed(1)
    config = NetworkConfig(network="mlp", hidden_sizes=(8,), box_actions="squash")
    model = ActorCritic(envs.obs_spec, envs.action_spec, config, torch.float32)
    collector = Collector(Actor(envs, model, 7, "train", Heart(), None), STEPS)
    taken, step = [], envs.step
    envs.step = lambda actions: (taken.append(actions), step(actions))[1]
    rollout = collector.collect(0, True)
    stored = rollout.actions.double().numpy()
    assert stored.std() > 0.5
    low, high = np.array(envs.action_spec.low), np.array(envs.action_spec.high)
    expected = low + (high - low) / 2 * (1 + np.tanh(stored))
    np.testing.assert_allclose(np.stack(taken), expected, atol=1e-6)


def test_a_packed_observation_that_is_not_finite_is_named_with_its_environment():
    collector = make_collector("picture_and_vector")
    envs = collector.actor.envs
    observe = envs.observe

    def broken() -> np.ndarray:
        obs = observe()
        envs.obs_spec.vectors(obs)[1, 2] = np.nan
        return obs

    envs.observe = broken
    with pytest.raises(NonFiniteError, match="an observation of environment 1 is nan in step 1 of"):
        collector.collect(0, True)


def test_a_lost_life_ends_what_is_learned_from_and_not_the_episode():
    collector = make_collector("match")
    step = collector.actor.envs.step
    lost = np.zeros((STEPS, 3), bool)
    lost[4, 0] = lost[9, 1] = True  # the second as the episode is cut short
    taken = iter(lost)

    def losing(actions: np.ndarray) -> StepResult:
        return replace(step(actions), life_lost=next(taken))

    collector.actor.envs.step = losing  # type: ignore[method-assign]
    rollout = collector.collect(0, True)
    np.testing.assert_array_equal(rollout.terminated, lost)
    assert not (rollout.terminated & rollout.truncated).any()
    assert rollout.truncated[9].tolist() == [True, False, True]
    # Episodes are whole: ten steps each, wherever lives were lost.
    lengths = [(record.env, record.length) for record in collector.actor.episodes]
    assert sorted(lengths) == [(env, 10) for env in (0, 1, 2) for _ in range(2)]
