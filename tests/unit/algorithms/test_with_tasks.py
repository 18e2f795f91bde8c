"""An algorithm's loss beside auxiliary heads: the sum of both, and their way through an update."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from learners import CONFIG, ENVS, NOW, STEPS, make_batch

from ppo_mpi.algorithms.a2c import A2C, a2c_loss
from ppo_mpi.algorithms.ppo import PPO, ppo_loss
from ppo_mpi.algorithms.with_tasks import with_tasks
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.learning.algorithm import Algorithm, Loss
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Batch, microbatches
from ppo_mpi.learning.tasks import Tasks
from ppo_mpi.learning.truths import Truths
from ppo_mpi.learning.update import update
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.routed import RoutedPass
from ppo_mpi.settings.auxiliary import LOSSES, AuxiliaryConfig
from ppo_mpi.settings.network import NetworkConfig

WORDS = ("a:regression:2", "b:classes:3")
CLIP = 0.2
NEXT = {"indices": (0, 1, 2), "iteration": 6, "now": NOW, "comm": Communicator()}


def make(auxiliary: AuxiliaryConfig) -> tuple[ActorCritic, Batch, Tasks]:
    torch.manual_seed(3)
    spec, config = ObservationSpec((5,), "float32"), NetworkConfig(hidden_sizes=(8,))
    model = ActorCritic(spec, Discrete(4), config, torch.float32, heads=auxiliary.heads)
    batch = make_batch(model)
    # What can be learned from the observations: two of their numbers, and the sign of one.
    obs = batch.rollout.obs
    values = torch.cat([obs[..., :2], (obs[..., 2:3] > 0).float()], -1)
    values[0, 0] = float("nan")
    truths = Truths(values, torch.zeros(STEPS, ENVS, 2))
    tasks = Tasks(auxiliary.heads, auxiliary.weights, "x")
    return model, replace(batch, rollout=replace(batch.rollout, truths=truths)), tasks


@pytest.mark.parametrize(("base", "base_loss"), [(PPO, ppo_loss), (A2C, a2c_loss)])
def test_the_loss_is_the_algorithms_and_the_weighted_sum_of_the_heads(
    base: Algorithm, base_loss: Loss
):
    auxiliary = AuxiliaryConfig(auxiliary_heads=WORDS, auxiliary_weights=(2.0, 0.5))
    model, batch, tasks = make(auxiliary)
    assert batch.rollout.truths is not None
    tasks.begin(batch.rollout.truths, 0, Communicator())
    (minibatch,) = microbatches(batch, torch.tensor([0, 4, 5, 20, 31]), 0)
    algorithm = with_tasks(base, auxiliary, tasks)
    loss, sums = algorithm.loss(model, minibatch, CONFIG, CLIP, 0.02)
    own, own_sums = base_loss(model, minibatch, CONFIG, CLIP, 0.02)
    named = dict(zip(algorithm.metrics, sums.tolist(), strict=True))
    heads = 0.3 * (2.0 * named["auxiliary/a_loss"] + 0.5 * named["auxiliary/b_loss"])
    assert named["auxiliary_loss"] == pytest.approx(heads, rel=1e-5)
    assert loss.item() == pytest.approx(own.item() + heads, rel=1e-5)
    assert named["loss"] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(sums[1 : len(own_sums)], own_sums[1:])
    assert algorithm.gradients is None


def test_without_heads_and_with_all_losses_reaching_it_is_the_algorithm_itself():
    assert with_tasks(PPO, AuxiliaryConfig(), None) is PPO
    assert with_tasks(PPO, AuxiliaryConfig(shared_gradients=("value",)), None) is not PPO


@pytest.mark.parametrize("losses", [LOSSES, ("value",), ("policy", "entropy"), ("auxiliary",)])
def test_only_the_losses_that_are_named_reach_the_shared_layers_of_a2c(losses: tuple[str, ...]):
    """The others' coefficients leave the gradients of the shared layers as they are."""
    auxiliary = AuxiliaryConfig(auxiliary_heads=WORDS, shared_gradients=losses)
    model, batch, tasks = make(auxiliary)
    assert batch.rollout.truths is not None
    tasks.begin(batch.rollout.truths, 0, Communicator())
    (minibatch,) = microbatches(batch, torch.arange(4, 12), 0)
    expected = torch.zeros(8, 5)
    for name in losses:  # each alone
        kept = minibatch if name == "policy" else replace(
            minibatch, advantages=torch.zeros_like(minibatch.advantages)
        )  # fmt: skip
        config = replace(CONFIG, value_coef=0.4 if name == "value" else 0.0)
        own, _ = a2c_loss(model, kept, config, CLIP, 0.02 if name == "entropy" else 0.0)
        if name == "auxiliary":
            assert minibatch.truths is not None
            routed = RoutedPass(model, minibatch.obs, minibatch.sequences, LOSSES)
            routed(minibatch.obs, minibatch.sequences)
            own, _ = tasks.losses(routed.answers(), minibatch.truths)
        expected += torch.autograd.grad(own, model.torso.layers[0].weight)[0]
    loss, _ = with_tasks(A2C, auxiliary, tasks).loss(model, minibatch, CONFIG, CLIP, 0.02)
    (found,) = torch.autograd.grad(loss, model.torso.layers[0].weight)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("base", [PPO, A2C])
def test_heads_learn_in_updates(base: Algorithm, exact: bool):
    auxiliary = AuxiliaryConfig(auxiliary_heads=WORDS)
    model, batch, tasks = make(auxiliary)
    if base is A2C:  # which nothing holds back on one rollout again and again
        batch = replace(batch, advantages=torch.zeros_like(batch.advantages))
    workers = Workers(1) if exact else None
    learner = Learner(model, with_tasks(base, auxiliary, tasks), CONFIG, 9, workers, tasks=tasks)
    first = update(learner, batch, **NEXT)
    for _ in range(60):
        last = update(learner, batch, **NEXT)
    assert first["auxiliary/a_known"] == pytest.approx(1 - 1 / (STEPS * ENVS))
    assert first["auxiliary/a_explained_variance"] < 0.5
    assert last["auxiliary/a_explained_variance"] > 0.7
    assert last["auxiliary/b_accuracy"] > 0.9
