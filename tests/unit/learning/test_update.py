"""Epochs x minibatches against a plain loop of torch's own parts."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learners import (
    COMM,
    CONFIG,
    ENVS,
    NOW,
    STEPS,
    make_batch,
    make_learner,
    make_model,
    parameters_of,
    run_update,
)
from torch import nn

from ppo_mpi.algorithms.ppo import PPO
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.gradients import FlatGradients
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.errors import IterationAbandonedError, NonFiniteError
from ppo_mpi.learning.algorithm import Algorithm
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Batch, Rollout, minibatch_samples
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.statistics import normalized_by_minibatch, value_statistics
from ppo_mpi.learning.update import update
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.network import NetworkConfig


def plain_update(model: ActorCritic, batch: Batch, config: LearningConfig) -> float:
    """Do what ``update`` should do, with nothing of ours but the dealing; return the last KL."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-5)
    rollout = batch.rollout
    kl = 0.0
    for epoch in range(config.num_epochs):
        kls, sizes = [], []
        for samples in minibatch_samples((0, 1, 2), STEPS, config.num_minibatches, 9, 6, epoch):
            t, b = samples // ENVS, samples % ENVS
            outputs, values = model.outputs(rollout.obs[t, b])
            policy = torch.distributions.Categorical(logits=outputs)
            ratio = (policy.log_prob(rollout.actions[t, b]) - rollout.log_probs[t, b]).exp()
            advantages, returns = batch.advantages[t, b], batch.returns[t, b]
            surrogate = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
            old = rollout.values[t, b]
            near = old + (values - old).clamp(-0.2, 0.2)
            value_error = torch.max((values - returns) ** 2, (near - returns) ** 2) / 2
            loss = -surrogate.mean() + 0.4 * value_error.mean() - 0.02 * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            kls.append((ratio - 1 - ratio.log()).mean().item())
            sizes.append(len(samples))
        kl = float(np.average(kls, weights=sizes))
    return kl


def test_an_update_is_adam_on_the_clipped_gradient_of_each_minibatchs_mean_loss():
    learner, reference = make_learner(), make_model()
    batch = make_batch(reference)
    start = parameters_of(reference)
    metrics = run_update(learner, batch)
    kl = plain_update(reference, batch, CONFIG)
    expected = parameters_of(reference)
    torch.testing.assert_close(parameters_of(learner.model), expected, atol=1e-5, rtol=1e-4)
    assert (expected - start).abs().max() > 0.01
    assert metrics["approx_kl"] == pytest.approx(kl, rel=1e-3)
    assert metrics["optimizer_steps"] == 8
    assert metrics["gradient_norm"] > 0.5  # so that the clip was tested


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(
    "workers", [None, Workers(2, exact=False), Workers(1)], ids=["flat", "threads", "exact"]
)
def test_accumulation_over_microbatches_does_not_change_the_gradient(size, workers):
    whole = make_learner()
    pieces = make_learner(replace(CONFIG, microbatch_size=size), workers)
    batch = make_batch(whole.model)
    expected, found = run_update(whole, batch), run_update(pieces, batch)
    torch.testing.assert_close(
        parameters_of(pieces.model), parameters_of(whole.model), atol=1e-5, rtol=1e-4
    )
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("size", [0, 2, 5])
@pytest.mark.parametrize("normalize", ["none", "minibatch"])
def test_an_update_that_stays_on_its_device_is_the_same(size: int, record: bool, normalize):
    config = replace(CONFIG, normalize_advantages=normalize, max_grad_norm=0.4)
    host = make_learner(config)
    config = replace(config, microbatch_size=size)
    device = make_learner(config, on_device=True, record=record)
    # Three iterations of one rollout's memory; what is scheduled changes from one to the next.
    batch = make_batch(host.model)
    for iteration, (clip_range, entropy_coef) in enumerate(((0.2, 0.02), (0.2, 0.3), (0.1, 0.0))):
        batch.advantages.copy_(make_batch(host.model, iteration).advantages)
        expected, found = (
            update(
                learner, replace(batch), (0, 1, 2), iteration,
                Scheduled(0.01, clip_range, entropy_coef), COMM,
            )
            for learner in (host, device)
        )  # fmt: skip
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(
        parameters_of(device.model), parameters_of(host.model), atol=1e-5, rtol=1e-4
    )
    assert expected["gradient_norm"] > 0.4, "the clip was tested"
    assert device.device_terms is not None
    assert bool(device.device_terms._recordings) == record


@pytest.mark.parametrize("size", [3, 1000])
def test_each_step_of_a_large_network_sends_what_is_complete_early(size: int):
    class Watched(Communicator):
        begun = 0

        def begin_sum(self, gradients: FlatGradients) -> None:
            # All but the first layers: no other microbatch is to come.
            whole = len(gradients.buffer) - gradients.cut
            assert gradients.buffer[-1] == 6, "the minibatch's samples have been counted"
            self.sent = gradients.buffer[-whole:].clone()
            self.begun += 1

        def average_gradients(self, gradients: FlatGradients) -> dict[str, Any]:
            assert torch.equal(self.sent, gradients.buffer[gradients.cut :])
            return super().average_gradients(gradients)

    spec = ObservationSpec((16, 16, 3), "uint8")
    torch.manual_seed(0)
    network = NetworkConfig(feature_size=1024)
    model = ActorCritic(spec, Discrete(4), network, torch.float32)
    config = replace(CONFIG, microbatch_size=size, num_epochs=1, num_minibatches=2)
    learner = Learner(model, PPO, config, seed=9)
    numbers = torch.zeros(4, 3)
    obs = torch.randint(256, (4, 3, 16, 16, 3), dtype=torch.uint8)
    none = np.zeros((4, 3))
    rollout = Rollout(obs, numbers.long(), numbers, numbers, numbers, none, none, none)
    comm = Watched()
    update(learner, Batch(rollout, numbers + 1, numbers + 1), (0, 1, 2), 0, NOW, comm)
    assert comm.begun == 2


def test_what_was_recorded_for_one_rollout_is_not_used_for_another():
    host, device = make_learner(), make_learner(on_device=True, record=True)
    for seed in range(2):
        batch = make_batch(make_model(), seed)  # in other memory each time
        expected, found = run_update(host, batch), run_update(device, batch)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_on_a_device_too_what_is_not_finite_is_named():
    learner = make_learner(on_device=True, record=True)
    with torch.no_grad():
        learner.model.value_head.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"is not finite in iteration 0: value_torso"):
        run_update(learner, make_batch(make_model()))


def test_on_a_device_too_a_late_stop_gives_the_iteration_up(monkeypatch):
    learner = make_learner(on_device=True)
    monkeypatch.setattr(type(STOP), "overdue", property(lambda _: True))
    with pytest.raises(IterationAbandonedError):
        run_update(learner, make_batch(learner.model))


def test_threads_change_no_bits_of_an_update():
    learners = [make_learner(workers=Workers(threads)) for threads in (1, 2, 3)]
    batch = make_batch(learners[0].model)
    metrics = [run_update(learner, batch) for learner in learners]
    first = parameters_of(learners[0].model)
    assert all(torch.equal(parameters_of(learner.model), first) for learner in learners)
    assert metrics[0] == metrics[1] == metrics[2]


def test_threads_that_take_microbatches_give_the_bits_of_one():
    config = replace(CONFIG, microbatch_size=3)
    learners = [make_learner(config)]
    learners += [make_learner(config, Workers(threads, exact=False)) for threads in (1, 2, 3)]
    batch = make_batch(learners[0].model)
    metrics = [run_update(learner, batch) for learner in learners]
    first = parameters_of(learners[0].model)
    assert all(torch.equal(parameters_of(learner.model), first) for learner in learners)
    assert all(found == metrics[0] for found in metrics)


def test_the_epochs_end_after_the_one_whose_kl_is_above_the_target():
    never = make_learner(replace(CONFIG, num_epochs=5, target_kl=1e9))
    at_once = make_learner(replace(CONFIG, num_epochs=5, target_kl=1e-9))
    batch = make_batch(never.model)
    assert run_update(never, batch)["optimizer_steps"] == 20
    assert run_update(at_once, batch)["optimizer_steps"] == 4


def test_metrics_are_those_of_the_last_epoch():
    one, two = make_learner(replace(CONFIG, num_epochs=1)), make_learner()
    batch = make_batch(one.model)
    run_update(one, batch)
    again = update(one, batch, (0, 1, 2), 6, NOW, COMM)
    assert run_update(two, batch)["loss"] != again["loss"]  # other minibatches: epoch 1, not 0
    assert set(again) == {*PPO.metrics, "gradient_norm", "optimizer_steps"}


def test_what_is_frozen_stays_and_the_rest_learns():
    learner = make_learner()
    frozen = learner.model.policy_head.weight.requires_grad_(False)
    learner = Learner(learner.model, PPO, CONFIG, seed=9)
    before, others = frozen.clone(), parameters_of(learner.model)
    run_update(learner, make_batch(learner.model))
    assert torch.equal(frozen, before)
    assert not torch.equal(parameters_of(learner.model), others)


def test_the_learning_rate_is_the_one_given():
    learner = make_learner()
    before = parameters_of(learner.model)
    run_update(learner, make_batch(learner.model), learning_rate=0.0)
    assert torch.equal(parameters_of(learner.model), before)


def test_a_reward_that_is_not_a_number_stops_the_update():
    learner = make_learner()
    batch = make_batch(learner.model)
    batch.returns[3, 1] = float("nan")
    with pytest.raises(NonFiniteError, match="the gradient averaged over 1 rank"):
        run_update(learner, batch)


def test_a_loss_that_is_not_finite_stops_the_update_and_is_named():
    def loss(model, minibatch, config, clip_range, entropy_coef):
        return PPO.loss(model, minibatch, config, clip_range)[0], torch.full((6,), float("inf"))

    learner = Learner(make_model(), Algorithm(loss, PPO.metrics), CONFIG, 9)
    with pytest.raises(NonFiniteError, match="the loss in iteration 7 is not finite"):
        run_update(learner, make_batch(learner.model))


@pytest.mark.parametrize("workers", [None, Workers(1)], ids=["flat", "exact"])
def test_an_optimizer_goes_on_from_its_saved_tensors_to_the_bit(workers):
    learner = make_learner(workers=workers)
    first, second = make_batch(learner.model, 1), make_batch(learner.model, 2)
    run_update(learner, first)
    other = make_learner(workers=workers)
    other.model.load_state_dict(copy.deepcopy(learner.model.state_dict()))
    other.optimizer.load_tensors(copy.deepcopy(learner.optimizer.tensors()))
    assert run_update(learner, second) == run_update(other, second)
    assert torch.equal(parameters_of(learner.model), parameters_of(other.model))
    saved, loaded = learner.optimizer.tensors(), other.optimizer.tensors()
    assert saved.keys() == loaded.keys()
    assert len(saved) == 3 * len(list(learner.model.parameters()))
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_advantages_are_normalized_within_each_minibatch():
    batch = make_batch(make_model())
    samples = minibatch_samples((0, 1, 2), STEPS, 4, 9, 6, 0)
    normalized = normalized_by_minibatch(batch, samples, COMM)
    raw = batch.advantages.flatten().numpy().astype(np.float64)
    for own in samples:
        part = raw[own.numpy()]
        expected = (part - part.mean()) / (part.std() + 1e-8)
        np.testing.assert_allclose(normalized.flatten()[own], expected, atol=1e-6)


def test_an_update_can_normalize_advantages_by_minibatch():
    by_minibatch = make_learner(replace(CONFIG, normalize_advantages="minibatch"))
    batch = make_batch(by_minibatch.model)
    shifted = replace(batch, advantages=batch.advantages * 30 + 700)
    other = make_learner(replace(CONFIG, normalize_advantages="minibatch"))
    run_update(by_minibatch, batch)
    run_update(other, shifted)
    torch.testing.assert_close(
        parameters_of(by_minibatch.model), parameters_of(other.model), atol=1e-4, rtol=1e-3
    )


def test_value_statistics_are_those_of_the_batch():
    batch = make_batch(make_model())
    returns, values = batch.returns.numpy(), batch.rollout.values.numpy()
    expected = {
        "explained_variance": 1 - np.var(returns - values) / np.var(returns),
        "mean_value": values.mean(),
        "mean_return_target": returns.mean(),
    }
    assert value_statistics(batch, COMM) == pytest.approx(expected, abs=1e-6)
