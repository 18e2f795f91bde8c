"""Behavior cloning against the likelihood, for every kind of policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from expert import trajectories
from learners import CONFIG, parameters_of
from spaces import random_actions

from ppo_mpi.algorithms.ppo import PPO
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.envs.base import ActionSpec, Box, Discrete, ObservationSpec
from ppo_mpi.learning.cloning import Cloned, clone
from ppo_mpi.learning.experts import Expert, chosen
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.settings.imitation import ImitationConfig
from ppo_mpi.settings.network import NetworkConfig
from ppo_mpi.storage.expert_data import ExpertEpisodes

COMM = Communicator()
SPEC = ObservationSpec((5,), "float32")
BOX = Box((-1.0, -2.0), (1.0, 4.0))
IMITATION = ImitationConfig(expert_data="e", cloning_epochs=3, cloning_batch_size=20)
LENGTHS = (30, 1, 25, 40)


def make_learner(spec: ActionSpec = Discrete(3), **network: Any) -> Learner:
    torch.manual_seed(3)
    config = NetworkConfig(hidden_sizes=(8,), shared_torso=False, **network)
    model = ActorCritic(SPEC, spec, config, torch.float32)
    return Learner(model, PPO, CONFIG, seed=9, workers=Workers(1))


def make_expert(spec: ActionSpec = Discrete(3)) -> Expert:
    own = trajectories(LENGTHS, SPEC, Discrete(3))
    actions = random_actions(spec, np.random.default_rng(1), len(own.actions))
    if isinstance(spec, Discrete):  # something to be learned
        actions = (own.observations[:, 0] > 0).astype(np.int64) * 2
    episodes = ExpertEpisodes(own.observations, actions, own.episode_bounds, None, {})
    return chosen(episodes, IMITATION, 9, SPEC, spec)


def cloned(learner: Learner, expert: Expert, **values: Any) -> list[Cloned]:
    told: list[Cloned] = []
    clone(learner, expert, replace(IMITATION, **values), None, told.append, COMM)
    return told


def mean_loss(learner: Learner, expert: Expert, rows: np.ndarray) -> float:
    model, obs = learner.model, torch.from_numpy(expert.obs[rows])
    with torch.no_grad():
        actions = model.policy.from_suite(torch.from_numpy(expert.actions[rows]))
        return float(-model(obs)[0].log_prob(actions).mean())


def test_the_policy_learns_what_the_expert_does_and_values_stay():
    learner, expert = make_learner(), make_expert()
    before = {n: p.detach().clone() for n, p in learner.model.named_parameters()}
    told = cloned(learner, expert, cloning_epochs=60, cloning_learning_rate=1e-2)
    assert [one.epoch for one in told] == list(range(1, 61))
    assert told[0].loss == pytest.approx(np.log(3), abs=0.15)
    assert told[-1].loss < 0.1
    assert told[-1].held_out < 0.5
    for name, parameter in learner.model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("value"), name
    assert not any(t.any() for t in learner.optimizer.tensors().values())
    for parameter in learner.gradients.parameters:  # the policy's own buffer is in its place again
        assert parameter.grad is not None
        assert parameter.grad.untyped_storage().data_ptr() == (
            learner.gradients.buffer.untyped_storage().data_ptr()
        )


def test_one_step_is_that_of_torchs_adam_on_the_mean_loss():
    learner, expert = make_learner(), make_expert()
    model = make_learner().model
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=CONFIG.adam_epsilon)
    distribution, _ = model(torch.from_numpy(expert.obs))
    (-distribution.log_prob(torch.from_numpy(expert.actions)).mean()).backward()
    optimizer.step()
    cloned(learner, expert, cloning_epochs=1, cloning_batch_size=1000, cloning_held_out=0.0)
    torch.testing.assert_close(
        parameters_of(learner.model), parameters_of(model), rtol=1e-4, atol=1e-6
    )


def test_what_is_held_out_is_whole_episodes_that_are_not_learned_from():
    learner, expert = make_learner(), make_expert()
    (told,) = cloned(learner, expert, cloning_epochs=1, cloning_held_out=0.5)
    ends = list(zip(expert.bounds, expert.bounds[1:], strict=False))
    pairs = [
        np.concatenate([np.arange(*ends[a]), np.arange(*ends[b])])
        for a in range(4)
        for b in range(a)
    ]
    losses = [mean_loss(learner, expert, rows) for rows in pairs]
    assert any(told.held_out == pytest.approx(loss, rel=1e-5) for loss in losses)
    (told,) = cloned(make_learner(), expert, cloning_epochs=1, cloning_held_out=0.0)
    assert np.isnan(told.held_out)
    (told,) = cloned(make_learner(), expert, cloning_epochs=1, cloning_held_out=0.9)
    assert np.isfinite(told.loss)  # of 4 episodes, 3.6 are 3: something is learned from


@pytest.mark.parametrize("bounds", ["clip", "squash"])
@pytest.mark.parametrize("deviations", ["learned", "kept"])
def test_boxes_are_cloned_by_their_density(bounds: str, deviations: str):
    learner, expert = make_learner(BOX, box_actions=bounds), make_expert(BOX)
    rows = np.arange(len(expert))
    before, log_std = mean_loss(learner, expert, rows), learner.model.log_std
    assert log_std is not None
    kept = log_std.detach().clone()
    cloned(learner, expert, cloning_epochs=30, cloning_deviations=deviations, cloning_held_out=0.0)
    assert mean_loss(learner, expert, rows) < before - 0.01
    assert torch.equal(log_std, kept) == (deviations == "kept")


def test_actions_come_back_from_squashing():
    policy = make_learner(BOX, box_actions="squash").model.policy
    actions = torch.tensor([[-0.9, 3.5], [0.2, 0.0], [1.0, -2.0]])
    back = policy.for_suite(policy.from_suite(actions))
    torch.testing.assert_close(back[:2], actions[:2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(back[2], torch.tensor([0.999, -1.997]))
    assert policy.from_suite(actions).isfinite().all()


def test_a_recurrent_policy_learns_whole_episodes():
    learner, expert = make_learner(recurrent="gru", recurrent_size=8), make_expert()
    model = make_learner(recurrent="gru", recurrent_size=8).model
    total = 0.0
    for begin, end in zip(expert.bounds, expert.bounds[1:], strict=False):
        memory = torch.zeros(1, model.memory_size)
        for step in range(begin, end):  # one after the other, as it would act
            obs = torch.from_numpy(expert.obs[step : step + 1])
            outputs, _, memory = model.recall(obs, Sequences.of_one_step(memory))
            action = torch.from_numpy(expert.actions[step : step + 1])
            total += float(-model.distribution(outputs).log_prob(action))
    told = cloned(learner, expert, cloning_epochs=1, cloning_batch_size=1000, cloning_held_out=0.0)
    assert told[0].loss == pytest.approx(total / len(expert), rel=1e-4)
    before = told[0].loss
    told = cloned(learner, expert, cloning_epochs=60, cloning_learning_rate=1e-2)
    assert told[-1].loss < before / 2


def test_observations_statistics_begin_with_the_experts():
    learner, expert = make_learner(), make_expert()
    normalizer = ObservationNormalizer((5,), 10.0)
    clone(learner, expert, IMITATION, normalizer, lambda _: None, COMM)
    np.testing.assert_allclose(normalizer.moments.mean, expert.obs.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(normalizer.moments.variance, expert.obs.var(0), rtol=1e-4)
    assert normalizer.moments.count == pytest.approx(len(expert), abs=1e-3)
    clips = ObservationNormalizer((5,), 10.0, only_clips=True)
    clone(learner, expert, IMITATION, clips, lambda _: None, COMM)
    assert not clips.moments.mean.any()


def test_a_signal_ends_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(STOP, "signal_name", "SIGTERM")
    learner, before = make_learner(), parameters_of(make_learner().model)
    assert cloned(learner, make_expert()) == []
    assert torch.equal(parameters_of(learner.model), before)
