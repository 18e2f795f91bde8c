"""The auxiliary phase against one written from the paper, and what it does to policy and values."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ppo_mpi.algorithms.ppg import PPG
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import ActionSpec, Box, Discrete, ObservationSpec
from ppo_mpi.learning.auxiliary_phase import METRICS, AuxiliaryLearner
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.losses import joint_loss
from ppo_mpi.learning.phase_rollouts import PhaseRollout
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import minibatch_samples
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.divergence import kl_divergence
from ppo_mpi.seeding import stream_seed
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.network import NetworkConfig
from ppo_mpi.settings.ppg import PpgConfig

COMM = Communicator()
STEPS, ENVS, COUNT = 7, 3, 4
SPEC = ObservationSpec((5,), "float32")
# Adam makes a whole step of the rounding that a policy's divergence from itself has for a gradient,
# unless its epsilon is larger than that.
LEARNING = LearningConfig(max_grad_norm=0.0, adam_epsilon=1e-4)
PHASE = PpgConfig(aux_epochs=2, aux_minibatches=2, clone_coef=0.7)
NOW = Scheduled(learning_rate=0.01, clip_range=0.2, entropy_coef=0.0)
BOX = Box((-1.0,) * 2, (1.0,) * 2)


def make_model(actions: ActionSpec, shared: bool = False, detach: bool = True) -> ActorCritic:
    torch.manual_seed(3)
    config = NetworkConfig(hidden_sizes=(8,), shared_torso=shared, policy_gain=1.0)
    return ActorCritic(
        SPEC, actions, config, torch.float32, aux_head=not shared, detach_values=detach
    )


def make_rollouts() -> list[PhaseRollout]:
    random = torch.Generator().manual_seed(0)
    obs = torch.randn(COUNT, STEPS, ENVS, 5, generator=random)
    return [PhaseRollout(own, own.sum(-1) + 2) for own in obs]


def learner_of(
    model: ActorCritic, workers: Workers | None = None, on_device: bool = False
) -> Learner:
    return Learner(model, PPG, LEARNING, seed=9, workers=workers, on_device=on_device)


def by_the_paper(model: ActorCritic, rollouts: list[PhaseRollout]) -> list[float]:
    """Take the auxiliary phase on a whole minibatch at once; return its losses.

    Minimizes L_joint = L_aux + beta KL(old || new), and L_value beside it.
    """
    obs = torch.cat([r.obs for r in rollouts]).flatten(0, 1)
    targets = torch.cat([r.targets for r in rollouts]).flatten()
    old = copy.deepcopy(model)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=NOW.learning_rate, eps=LEARNING.adam_epsilon
    )
    losses = []
    seed = stream_seed(9, "auxiliary phase")
    for epoch in range(PHASE.aux_epochs):
        for own in minibatch_samples((4, 5, 6), COUNT * STEPS, COUNT * 2, seed, 11, epoch):
            with torch.no_grad():
                old_policy, _ = old(obs[own])
            features = model.torso(obs[own])
            policy = model.distribution(model.policy_head(features))
            shared = model.value_torso is None
            value_features = features if shared else model.value_torso(obs[own])
            errors = [model.value_head(value_features)[:, 0] - targets[own]]
            if model.aux_value_head is not None:
                errors.append(model.aux_value_head(features)[:, 0] - targets[own])
            loss = PHASE.clone_coef * kl_divergence(old_policy, policy).mean()
            loss = loss + sum((0.5 * error**2).mean() for error in errors)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("workers", "on_device"),
    [(None, False), (None, True), (Workers(2, exact=False), False), (Workers(1), False)],
)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("actions", [Discrete(4), BOX], ids=["discrete", "box"])
def test_a_phase_is_that_of_the_paper(
    actions: ActionSpec, shared: bool, workers: Workers | None, on_device: bool
):
    model, slow = make_model(actions, shared), make_model(actions, shared)
    learner = learner_of(model, workers, on_device)
    learner.microbatch_size = 4
    rollouts = make_rollouts()
    phase = AuxiliaryLearner(learner, PHASE, (4, 5, 6))
    metrics = phase.learn(rollouts, 11, NOW, COMM)
    losses = by_the_paper(slow, rollouts)
    assert set(metrics) == set(METRICS)
    assert metrics["aux_loss"] == pytest.approx(sum(losses[8:]) / 8, rel=0.05)
    for (name, found), expected in zip(model.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-5, msg=name)
    # The policy's gradients have their place again.
    assert all(
        p.grad is not None and p.grad.data_ptr() != q.data_ptr()
        for p, q in zip(model.parameters(), phase.gradients._views, strict=True)
    )


def test_the_joint_loss_is_that_of_the_paper_by_hand():
    values, aux = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0])
    targets, divergence = torch.tensor([3.0, 2.0]), torch.tensor([0.5, 0.25])
    loss, aux_error, error = joint_loss(values, aux, targets, divergence, 2.0)
    assert error.tolist() == [2.0, 0.0]
    assert aux_error.tolist() == [4.5, 4.5]
    assert loss.tolist() == [2.0 + 4.5 + 1.0, 0.0 + 4.5 + 0.5]
    loss, aux_error, error = joint_loss(values, None, targets, divergence, 2.0)
    assert loss.tolist() == [3.0, 0.5]
    assert aux_error.tolist() == error.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("shared", [False, True])
def test_a_phase_fits_the_values_and_leaves_the_policy(shared: bool):
    moved = {}
    rollouts = make_rollouts()
    obs = torch.cat([r.obs for r in rollouts]).flatten(0, 1)
    targets = torch.cat([r.targets for r in rollouts]).flatten()
    for clone_coef in (0.0, 10.0):
        model = make_model(Discrete(4), shared)
        old = copy.deepcopy(model)
        config = replace(PHASE, aux_epochs=30, clone_coef=clone_coef)
        AuxiliaryLearner(learner_of(model), config, (0, 1, 2)).learn(rollouts, 0, NOW, COMM)
        with torch.no_grad():
            _, values, aux_values = model.auxiliary(obs)
            moved[clone_coef] = kl_divergence(old(obs)[0], model(obs)[0]).mean().item()
            before = ((old(obs)[1] - targets) ** 2).mean()
        for found in (values, aux_values):
            if found is not None:
                assert ((found - targets) ** 2).mean() < 0.1 * before
    assert moved[10.0] < 0.02
    assert moved[10.0] < 0.1 * moved[0.0]


def gradients(model: ActorCritic, loss: Tensor) -> set[str]:
    """Return which parts of the model a loss reaches."""
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {
        name.split(".")[0]
        for name, gradient in zip(named, found, strict=True)
        if gradient is not None and gradient.any()
    }


def test_gradients_of_two_networks_reach_the_right_parts():
    model, obs = make_model(Discrete(4)), torch.randn(6, 5)
    distribution, values = model(obs)
    assert gradients(model, values.sum()) == {"value_torso", "value_head"}
    assert gradients(model, distribution.entropy().sum()) == {"torso", "policy_head"}
    outputs, values, aux_values = model.auxiliary(obs)
    assert aux_values is not None
    assert gradients(model, values.sum()) == {"value_torso", "value_head"}
    assert gradients(model, aux_values.sum()) == {"torso", "aux_value_head"}
    assert gradients(model, outputs[:, 0].sum()) == {"torso", "policy_head"}


@pytest.mark.parametrize("detach", [True, False])
def test_values_of_one_network_reach_its_torso_in_the_auxiliary_phase_only(detach: bool):
    model, obs = make_model(Discrete(4), shared=True, detach=detach), torch.randn(6, 5)
    _, values = model(obs)
    reached = {"value_head"} if detach else {"value_head", "torso"}
    assert gradients(model, values.sum()) == reached
    _, same_values, aux_values = model.auxiliary(obs)
    assert aux_values is None
    assert torch.equal(values, same_values)
    assert gradients(model, same_values.sum()) == {"value_head", "torso"}


def test_old_policies_are_those_from_before_the_phase():
    """The first step's divergence is that of a policy from itself, and later ones are not."""
    model = make_model(BOX)
    assert isinstance(model.log_std, nn.Parameter)
    config = replace(PHASE, aux_epochs=1, aux_minibatches=1)
    rollouts = make_rollouts()
    learner = AuxiliaryLearner(learner_of(model), config, (0, 1, 2))
    first = learner.learn(rollouts[:1], 0, NOW, COMM)
    assert first["aux_clone_kl"] == pytest.approx(0.0, abs=1e-6)
    later = learner.learn(rollouts, 1, NOW, COMM)
    assert 1e-6 < later["aux_clone_kl"] < 1.0


def test_targets_are_learned_in_the_unit_of_the_head():
    torch.manual_seed(3)
    config = NetworkConfig(hidden_sizes=(8,), shared_torso=False)
    model = ActorCritic(SPEC, Discrete(4), config, torch.float32, True, aux_head=True)
    assert model.value_scale is not None
    model.value_scale.mean.fill_(100.0)
    model.value_scale.variance.fill_(25.0)
    rollouts = [PhaseRollout(r.obs, 5 * r.targets + 100) for r in make_rollouts()]
    config_ = replace(PHASE, aux_epochs=40)
    AuxiliaryLearner(learner_of(model), config_, (0, 1, 2)).learn(rollouts, 0, NOW, COMM)
    with torch.no_grad():
        _, values, _ = model.auxiliary(rollouts[0].obs.flatten(0, 1))
    found = model.in_returns(values)
    assert (found - rollouts[0].targets.flatten()).abs().mean() < 5
    assert math.isclose(found.mean(), rollouts[0].targets.mean(), abs_tol=3)
