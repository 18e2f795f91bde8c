"""The discriminator in the loop: pairs, epochs, what the policy would see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from expert import trajectories

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.learning.experts import chosen
from ppo_mpi.learning.following import following
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Rollout
from ppo_mpi.rewards.gail import Gail, Pairs
from ppo_mpi.rewards.gail_learner import GailLearner
from ppo_mpi.settings.imitation import ImitationConfig
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.rewards import RewardsConfig
from ppo_mpi.storage.expert_data import ExpertEpisodes

COMM = Communicator()
STEPS, ENVS = 12, 3
SPEC = ObservationSpec((4,), "float32")
OWN = trajectories((20, 15), SPEC, Discrete(3))
EPISODES = ExpertEpisodes(OWN.observations, OWN.actions, OWN.episode_bounds, None, {})
IMITATION = ImitationConfig(
    expert_data="e", discriminator_hidden_sizes=(8,), gail_batch_size=8, gail_epochs=2,
    gail_first_epochs=3, gail_first_iterations=4,
)  # fmt: skip
REWARDS = RewardsConfig(normalize_intrinsic_rewards="off", reward_learning_rate=1e-2)


def make_learner(
    indices: tuple[int, ...] = tuple(range(ENVS)), normalizer: ObservationNormalizer | None = None,
    **values: object,
) -> GailLearner:  # fmt: skip
    torch.manual_seed(2)
    config = replace(IMITATION, **values)  # type: ignore[arg-type]
    learning = LearningConfig(rollout_timesteps=STEPS * ENVS, num_epochs=2, num_minibatches=3)
    model = Gail(SPEC, Discrete(3), REWARDS, config)
    learner = GailLearner(model, indices, REWARDS, learning, 9, Workers(1))
    learner.attach(chosen(EPISODES, config, 9, SPEC, Discrete(3)), config, normalizer)
    return learner


def make_rollout(*unknown: tuple[int, int]) -> Rollout:
    """Return noise, with episodes that end where nobody saw what came."""
    random = torch.Generator().manual_seed(0)
    obs = torch.randn(STEPS, ENVS, 4, generator=random)
    actions = torch.randint(3, (STEPS, ENVS), generator=random)
    ended = np.zeros((STEPS, ENVS), bool)
    for place in unknown:
        ended[place] = True
    numbers = torch.zeros(STEPS, ENVS)
    behind = following(obs, obs[0], torch.from_numpy(ended), [], obs[0, :0])
    return Rollout(
        obs, actions, numbers, numbers, numbers, numbers.numpy(), ended, ended & False, behind
    )  # fmt: skip


def test_an_epoch_is_a_pass_over_the_shorter_of_rollout_and_expert():
    assert make_learner().steps_of_epoch == (4, 4)  # 36 // 8, and 35 // 8
    assert make_learner(expert_episodes=1).steps_of_epoch == (4, 2)  # 20 // 8
    assert make_learner(expert_episodes=1, expert_subsample=4).steps_of_epoch == (4, 1)
    assert make_learner(gail_batch_size=1000).steps_of_epoch == (1, 1)


@pytest.mark.parametrize(("iteration", "steps"), [(0, 12), (3, 12), (4, 8)])
def test_the_first_iterations_have_more_epochs(iteration: int, steps: int):
    learner = make_learner()
    metrics = learner.learn(make_rollout(), iteration, 1e-3, COMM)
    assert int(next(iter(learner.optimizer.tensors().values())).numel()) > 0
    assert float(learner.optimizer.tensors()["discriminator.head.bias/step"]) == steps
    assert set(metrics) == {f"reward_model_{name}" for name in (*Gail.metrics, "gradient_norm")}
    assert 0 <= metrics["reward_model_expert_accuracy"] <= 1


def test_partners_belong_to_environments_and_not_to_ranks():
    partners, mixes = (x.view(STEPS, ENVS) for x in make_learner()._draw(5, 1, STEPS))
    for index in range(ENVS):
        own = make_learner((index,))._draw(5, 1, STEPS)
        assert torch.equal(own[0], partners[:, index])
        assert torch.equal(own[1], mixes[:, index])
    assert len(partners.unique()) > 15
    assert partners.min() >= 0
    assert partners.max() < 35
    assert not torch.equal(partners, make_learner()._draw(5, 2, STEPS)[0].view(STEPS, ENVS))


def test_the_expert_is_seen_through_the_normalizer_as_it_is_now():
    normalizer = ObservationNormalizer((4,), 10.0)
    learner = make_learner(normalizer=normalizer)
    rollout = make_rollout()
    learner.learn(rollout, 0, 1e-3, COMM)
    normalizer.moments.merge(100.0, np.full(4, 2.0), np.full(4, 9.0))
    learner._expert = learner._expert_now()
    learner._draws = learner._draw(0, 0, STEPS)
    samples = torch.tensor([0, 7, 20])
    pairs = learner._transitions(rollout, samples)
    assert isinstance(pairs, Pairs)
    rows = learner._draws[0][samples].numpy()
    raw = OWN.observations[rows]
    np.testing.assert_allclose(pairs.expert_obs.numpy(), (raw - 2) / 3, rtol=1e-4, atol=1e-4)
    assert torch.equal(pairs.expert_actions, torch.from_numpy(OWN.actions[rows]))
    assert torch.equal(pairs.obs, rollout.obs.flatten(0, 1)[samples])


def test_every_step_has_a_reward_whatever_followed_it():
    learner, rollout = make_learner(), make_rollout((7, 1), (11, 2))
    rewards, _ = learner.rewards(rollout, True, COMM)
    with torch.no_grad():
        inputs = rollout.obs.flatten(0, 1), rollout.actions.flatten()
        network = learner.model.discriminator  # type: ignore[attr-defined]
        expected = network(*network.inputs(*inputs)).view(STEPS, ENVS)
    np.testing.assert_allclose(rewards, expected.numpy(), rtol=1e-5, atol=1e-6)
