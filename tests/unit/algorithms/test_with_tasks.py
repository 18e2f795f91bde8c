"""An algorithm's loss beside auxiliary heads: the sum of both, and their way through an update."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from learners import CONFIG, ENVS, NOW, STEPS, make_batch

from ppo_mpi.algorithms.ppo import PPO, ppo_loss
from ppo_mpi.algorithms.with_tasks import with_tasks
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Batch, microbatches
from ppo_mpi.learning.tasks import Tasks
from ppo_mpi.learning.truths import Truths
from ppo_mpi.learning.update import update
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.auxiliary import AuxiliaryConfig
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


def test_the_loss_is_the_algorithms_and_the_weighted_sum_of_the_heads():
    auxiliary = AuxiliaryConfig(auxiliary_heads=WORDS, auxiliary_weights=(2.0, 0.5))
    model, batch, tasks = make(auxiliary)
    assert batch.rollout.truths is not None
    tasks.begin(batch.rollout.truths, 0, Communicator())
    (minibatch,) = microbatches(batch, torch.tensor([0, 4, 5, 20, 31]), 0)
    algorithm = with_tasks(PPO, auxiliary, tasks)
    loss, sums = algorithm.loss(model, minibatch, CONFIG, CLIP, 0.02)
    own, own_sums = ppo_loss(model, minibatch, CONFIG, CLIP, 0.02)
    named = dict(zip(algorithm.metrics, sums.tolist(), strict=True))
    heads = 0.3 * (2.0 * named["auxiliary/a_loss"] + 0.5 * named["auxiliary/b_loss"])
    assert named["auxiliary_loss"] == pytest.approx(heads, rel=1e-5)
    assert loss.item() == pytest.approx(own.item() + heads, rel=1e-5)
    assert named["loss"] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(sums[1:6], own_sums[1:])
    assert algorithm.gradients is None


def test_without_heads_and_with_all_losses_reaching_it_is_the_algorithm_itself():
    assert with_tasks(PPO, AuxiliaryConfig(), None) is PPO
    assert with_tasks(PPO, AuxiliaryConfig(shared_gradients=("value",)), None) is not PPO


@pytest.mark.parametrize("exact", [False, True])
def test_heads_learn_in_updates(exact: bool):
    auxiliary = AuxiliaryConfig(auxiliary_heads=WORDS)
    model, batch, tasks = make(auxiliary)
    workers = Workers(1) if exact else None
    learner = Learner(model, with_tasks(PPO, auxiliary, tasks), CONFIG, 9, workers, tasks=tasks)
    first = update(learner, batch, **NEXT)
    for _ in range(40):
        last = update(learner, batch, **NEXT)
    assert first["auxiliary/a_known"] == pytest.approx(1 - 1 / (STEPS * ENVS))
    assert first["auxiliary/a_explained_variance"] < 0.5
    assert last["auxiliary/a_explained_variance"] > 0.7
    assert last["auxiliary/b_accuracy"] > 0.9
