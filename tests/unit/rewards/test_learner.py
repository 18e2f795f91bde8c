"""A reward model in the loop: masks, sums, normalization, epochs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.errors import NonFiniteError
from ppo_mpi.learning.following import following
from ppo_mpi.learning.normalizers import RewardNormalizer
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Rollout, minibatch_samples
from ppo_mpi.rewards.base import Transitions
from ppo_mpi.rewards.icm import Icm
from ppo_mpi.rewards.learner import RewardLearner
from ppo_mpi.rewards.making import intrinsic_rewards
from ppo_mpi.rewards.rnd import Rnd
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.rewards import RewardsConfig

COMM = Communicator()
STEPS, ENVS = 12, 3
SPEC = ObservationSpec((4,), "float32")
LEARNING = LearningConfig(num_epochs=2, num_minibatches=3)
CONFIG = RewardsConfig(
    encoder_hidden_sizes=(8,), encoded_size=5, inverse_hidden_sizes=(8,), forward_hidden_sizes=(8,),
    rnd_output_size=6, rnd_predictor_sizes=(8,), normalize_intrinsic_rewards="off",
)  # fmt: skip
KINDS = {"icm": Icm, "rnd": Rnd}


def make_learner(
    kind: str = "icm", config: RewardsConfig = CONFIG, workers: Workers | None = None, **where: bool
) -> RewardLearner:
    torch.manual_seed(2)
    model = KINDS[kind](SPEC, Discrete(3), config)
    return RewardLearner(model, (0, 1, 2), config, LEARNING, 9, workers, **where)


def make_rollout(ends: dict[tuple[int, int], str] | None = None, seed: int = 0) -> Rollout:
    """Return noise; an end is "truncated", "terminated", "unknown" if nobody saw what came, or
    "dropped" if the environment was made anew there."""
    random = torch.Generator().manual_seed(seed)
    obs = torch.randn(STEPS, ENVS, 4, generator=random)
    actions = torch.randint(3, (STEPS, ENVS), generator=random)
    terminated, truncated = np.zeros((2, STEPS, ENVS), bool)
    for place, kind in (ends or {}).items():
        (terminated if kind in ("terminated", "unknown") else truncated)[place] = True
    known = [place for place, kind in (ends or {}).items() if kind in ("truncated", "terminated")]
    dropped = [place for place, kind in (ends or {}).items() if kind == "dropped"]
    last = torch.randn(len(known), 4, generator=random)
    present = torch.randn(ENVS, 4, generator=random)
    numbers = torch.zeros(STEPS, ENVS)
    return Rollout(
        obs, actions, numbers, numbers, numbers, numbers.numpy(), terminated, truncated,
        following(obs, present, torch.from_numpy(terminated | truncated), known, last, dropped),
    )  # fmt: skip


ENDS = {(3, 0): "truncated", (7, 1): "unknown", (9, 1): "terminated", (11, 2): "unknown"}


def parameters_of(learner: RewardLearner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in learner.model.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_without_a_known_next_observation_are_given_nothing(kind: str):
    learner, rollout = make_learner(kind), make_rollout(ENDS)
    rewards, metrics = learner.rewards(rollout, True, COMM)
    unknown = np.zeros((STEPS, ENVS), bool)
    unknown[7, 1] = unknown[11, 2] = True
    assert not rewards[unknown].any()
    assert (rewards[~unknown] > 0).all()
    assert metrics["intrinsic_reward_mean"] == pytest.approx(rewards[~unknown].mean())
    for t, slot in [(0, 0), (3, 0), (9, 1), (11, 0)]:
        assert rollout.following is not None
        own = torch.tensor([t * ENVS + slot])
        given = Transitions(
            rollout.obs[t, slot][None], rollout.actions[t, slot][None], rollout.following.take(own)
        )
        assert rewards[t, slot] == pytest.approx(learner.model.rewards(given).item(), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_followed_unknown_steps_has_no_weight_in_the_loss(kind: str):
    """Their observation and action may be anything, although they are dealt to minibatches."""
    results = []
    for noise in (0.0, 100.0):
        learner, rollout = make_learner(kind), make_rollout(ENDS)
        learner.rewards(rollout, True, COMM)  # RND's statistics, of the same observations
        rollout.obs[7, 1] += noise
        rollout.obs[11, 2] += noise
        # These are themselves what followed the step before.
        assert rollout.following is not None
        rollout.following.known[6, 1] = rollout.following.known[10, 2] = False
        metrics = learner.learn(rollout, 4, 0.01, COMM)
        results.append((parameters_of(learner), metrics))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert not torch.equal(results[0][0], parameters_of(make_learner(kind)))


def plain_learn(learner: RewardLearner, rollout: Rollout, kept: np.ndarray) -> dict[str, float]:
    """Do what ``learn`` should do, with torch's Adam and one mean over all samples."""
    model = learner.model
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.01, eps=LEARNING.adam_epsilon)
    assert rollout.following is not None
    for epoch in range(2):
        sums, number = torch.zeros(len(model.metrics)), 0
        for own in minibatch_samples((0, 1, 2), STEPS, 3, 9, 4, epoch):
            own = own[torch.from_numpy(kept).flatten()[own]]
            given = Transitions(
                rollout.obs.flatten(0, 1)[own], rollout.actions.flatten()[own],
                rollout.following.take(own),
            )  # fmt: skip
            loss, measured = model.loss(given)
            optimizer.zero_grad()
            (loss / len(own)).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.05)
            optimizer.step()
            sums += measured
            number += len(own)
    means = (sums / number).tolist()
    return {f"reward_model_{n}": x for n, x in zip(model.metrics, means, strict=True)}


@pytest.mark.parametrize("how", ["plain", "threads", "exact", "device"])
@pytest.mark.parametrize("kind", KINDS)
def test_learning_is_adam_on_the_means_of_minibatches(kind: str, how: str):
    config = replace(CONFIG, reward_max_grad_norm=0.05)
    workers = {"threads": Workers(2, exact=False), "exact": Workers(2)}.get(how)
    learner = make_learner(kind, config, workers, on_device=how == "device")
    if workers is not None:
        learner.microbatch_size = 3
    expected, rollout = make_learner(kind, config), make_rollout(ENDS)
    for each in (learner, expected):
        each.rewards(rollout, True, COMM)
    assert rollout.following is not None
    metrics = learner.learn(rollout, 4, 0.01, COMM)
    plain = plain_learn(expected, rollout, rollout.following.known.numpy())
    torch.testing.assert_close(
        parameters_of(learner), parameters_of(expected), rtol=1e-3, atol=1e-5
    )
    assert {name: metrics[name] for name in plain} == pytest.approx(plain, rel=1e-3)


def test_its_own_learning_rate_and_epochs_come_first():
    rollout = make_rollout()
    followed, own, fewer = (
        make_learner(config=replace(CONFIG, **values))
        for values in (
            {}, {"reward_learning_rate": 0.02}, {"reward_learning_rate": 0.02, "reward_epochs": 1}
        )
    )  # fmt: skip
    followed.learn(rollout, 0, 0.02, COMM)
    own.learn(rollout, 0, 7.0, COMM)
    fewer.learn(rollout, 0, 7.0, COMM)
    assert torch.equal(parameters_of(followed), parameters_of(own))
    assert not torch.equal(parameters_of(fewer), parameters_of(own))
    assert int(followed.optimizer.tensors()["dynamics.head.bias/step"]) == 6
    assert int(fewer.optimizer.tensors()["dynamics.head.bias/step"]) == 3


def test_a_share_of_the_samples_is_drawn_anew_for_every_epoch():
    learner = make_learner("rnd", replace(CONFIG, rnd_update_proportion=0.25))
    rollout = make_rollout()
    kept = [learner._kept(rollout, 0, epoch) for epoch in range(200)]
    shares = torch.stack(kept).float().mean(0)
    assert shares.mean() == pytest.approx(0.25, abs=0.02)
    assert shares.min() > 0.1
    assert shares.max() < 0.4
    # Of an environment by itself: the same whatever else is on the rank.
    alone = RewardLearner(learner.model, (1,), learner.config, LEARNING, 9)
    assert rollout.following is not None
    part = replace(rollout.following, known=rollout.following.known[:, 1:2])
    for epoch in range(5):
        own = alone._kept(replace(rollout, following=part), 0, epoch)
        assert torch.equal(own, kept[epoch].view(STEPS, ENVS)[:, 1])


def test_a_rollout_of_which_nothing_is_known_teaches_nothing():
    ends = {(t, slot): "unknown" for t in range(STEPS) for slot in range(ENVS)}
    learner = make_learner()
    before = parameters_of(learner)
    rewards, metrics = learner.rewards(make_rollout(ends), True, COMM)
    metrics |= learner.learn(make_rollout(ends), 0, 0.01, COMM)
    assert not rewards.any()
    assert np.isnan(metrics["intrinsic_reward_mean"])
    assert np.isnan(metrics["reward_model_loss"])
    assert metrics["intrinsic_return_mean"] == 0
    assert torch.equal(parameters_of(learner), before)


def test_intrinsic_returns_are_those_of_whole_episodes_over_rollouts():
    learner = make_learner()
    first, second = make_rollout({(4, 0): "truncated"}, 1), make_rollout({(2, 0): "truncated"}, 2)
    one, metrics = learner.rewards(first, True, COMM)
    assert metrics["intrinsic_return_mean"] == pytest.approx(one[:5, 0].sum())
    saved = learner.entries()
    two, metrics = learner.rewards(second, True, COMM)
    assert metrics["intrinsic_return_mean"] == pytest.approx(one[5:, 0].sum() + two[:3, 0].sum())
    fresh = make_learner()
    fresh.load_entries(saved, [1])
    np.testing.assert_allclose(fresh.returns, [one[5:, 0].sum(), 0, one[:, 2].sum()], rtol=1e-6)
    _, again = fresh.rewards(second, True, COMM)
    assert again == metrics
    # With fresh episodes in every rollout nothing is carried over.
    fresh.load_entries(saved, [])
    _, metrics = fresh.rewards(second, False, COMM)
    assert metrics["intrinsic_return_mean"] == pytest.approx(two[:3, 0].sum())


def test_the_intrinsic_return_of_an_episode_that_was_dropped_is_not_reported():
    """As with the environment's own: its episode is no row of episodes.csv."""
    learner = make_learner()
    rollout = make_rollout({(4, 0): "truncated", (6, 1): "dropped", (9, 1): "terminated"})
    rewards, metrics = learner.rewards(rollout, True, COMM)
    whole = [rewards[:5, 0].sum(), rewards[7:10, 1].sum()]  # the next one begins at zero
    assert metrics["intrinsic_return_mean"] == pytest.approx(np.mean(whole))
    only = make_rollout({(6, 1): "dropped"})
    assert np.isnan(make_learner().rewards(only, True, COMM)[1]["intrinsic_return_mean"])


def test_normalized_rewards_go_on_over_the_ends_of_episodes():
    learner = make_learner(config=replace(CONFIG, normalize_intrinsic_rewards="on"))
    plain = make_learner()
    reference = RewardNormalizer(ENVS, 0.99, float("inf"))
    for seed in (1, 2):
        rollout = make_rollout({(4, 0): "truncated"}, seed)
        raw, _ = plain.rewards(rollout, True, COMM)
        found, _ = learner.rewards(rollout, True, COMM)
        expected = reference(raw, np.zeros((STEPS, ENVS), bool), COMM)
        np.testing.assert_array_equal(found, expected)
    entries = learner.entries()
    np.testing.assert_array_equal([entries[str(i)][1] for i in range(3)], reference.returns)
    assert make_learner("rnd", RewardsConfig()).normalizer is not None
    assert make_learner("icm", RewardsConfig()).normalizer is None


def test_weights_are_factors_and_without_a_model_there_is_nothing():
    rollout = make_rollout()
    one, metrics = intrinsic_rewards(make_learner(), rollout, 1.0, True, COMM)
    three, same = intrinsic_rewards(make_learner(), rollout, 3.0, True, COMM)
    assert one is not None
    assert three is not None
    np.testing.assert_allclose(three, 3 * one)
    assert three.dtype == np.float32
    weights = [own.pop("intrinsic_weight") for own in (metrics, same)]
    assert weights == [1.0, 3.0]
    assert metrics.keys() == same.keys()
    assert metrics["intrinsic_reward_mean"] == pytest.approx(one.mean())
    assert same["intrinsic_reward_mean"] == metrics["intrinsic_reward_mean"], "before its weight"
    assert intrinsic_rewards(None, rollout, 1.0, True, COMM) == (None, {})


def test_a_reward_that_is_not_finite_stops_the_run():
    learner = make_learner()
    with torch.no_grad():
        learner.model.dynamics.head.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="a reward of the reward model is not finite"):
        learner.rewards(make_rollout(), True, COMM)
