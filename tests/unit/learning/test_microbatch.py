"""How many samples go through the network at once: chosen once, without a trace."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ppo_mpi.algorithms.ppo import PPO
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.learning import microbatch
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.microbatch import FIXED, SIZES, USUAL, choose_microbatch_size
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.learning import LearningConfig

IMAGES = ObservationSpec((16, 16, 3), "uint8")
VECTORS = ObservationSpec((5,), "float32")
CONFIG = TrainConfig(learning=LearningConfig(rollout_timesteps=4096, num_minibatches=8))


def make_learner(spec: ObservationSpec, workers: Workers | None = None) -> Learner:
    model = ActorCritic(spec, Discrete(3), CONFIG.network, torch.float32)
    return Learner(model, PPO, CONFIG.learning, seed=0, workers=workers)


def with_seconds(monkeypatch, seconds: dict[int, float]) -> None:
    monkeypatch.setattr(microbatch, "_seconds_per_sample", lambda learner, size: seconds[size])


@pytest.mark.parametrize("workers", [None, Workers(2, exact=False)], ids=["alone", "threads"])
def test_a_size_is_measured_for_images_and_nothing_is_changed_by_it(workers):
    learner = make_learner(IMAGES, workers)
    before = [p.clone() for p in learner.model.parameters()]
    random_before = torch.get_rng_state()
    assert choose_microbatch_size(CONFIG, learner, Communicator()) in SIZES
    for parameter, was in zip(learner.model.parameters(), before, strict=True):
        assert torch.equal(parameter, was)
    assert not learner.gradients.buffer.any()
    assert torch.equal(torch.get_rng_state(), random_before)


@pytest.mark.parametrize(
    ("faster", "factor", "chosen"), [(32, 0.9, 32), (64, 0.5, 64), (32, 0.97, USUAL)]
)
def test_another_than_the_usual_size_must_be_clearly_faster(faster, factor, chosen, monkeypatch):
    with_seconds(monkeypatch, dict.fromkeys(SIZES, 1.0) | {faster: factor})
    assert choose_microbatch_size(CONFIG, make_learner(IMAGES), Communicator()) == chosen


@pytest.mark.parametrize(("threads", "size"), [(1, 64), (2, 32), (3, 22)])
def test_every_thread_has_a_part_of_a_ranks_share(threads, size):
    config = replace(CONFIG, learning=replace(CONFIG.learning, num_minibatches=64))
    learner = make_learner(IMAGES, Workers(threads, exact=False))
    assert choose_microbatch_size(config, learner, Communicator()) == size


def test_there_are_fewer_of_large_images(monkeypatch):
    with_seconds(monkeypatch, {})
    learner = make_learner(ObservationSpec((160, 160, 3), "uint8"))
    assert choose_microbatch_size(CONFIG, learner, Communicator()) == 20


@pytest.mark.parametrize(("before", "chosen"), [(32, 32), (4096, USUAL), (0, USUAL)])
def test_a_run_goes_on_with_its_size_unless_that_was_for_another_device(
    before, chosen, monkeypatch
):
    with_seconds(monkeypatch, dict.fromkeys(SIZES, 1.0))
    learner = make_learner(IMAGES)
    assert choose_microbatch_size(CONFIG, learner, Communicator(), before) == chosen


@pytest.mark.parametrize(
    ("spec", "workers", "chosen"),
    [
        (VECTORS, None, 0),
        (VECTORS, Workers(4, exact=False), 128),
        (VECTORS, Workers(1), FIXED),
        (IMAGES, Workers(2), FIXED),
    ],
    ids=["vectors", "vectors on threads", "exact vectors", "exact images"],
)
def test_nothing_is_measured_where_it_makes_no_difference_or_must_not(
    spec, workers, chosen, monkeypatch
):
    with_seconds(monkeypatch, {})
    assert choose_microbatch_size(CONFIG, make_learner(spec, workers), Communicator()) == chosen


def test_what_the_user_asks_for_is_taken(monkeypatch):
    with_seconds(monkeypatch, {})
    config = replace(CONFIG, learning=replace(CONFIG.learning, microbatch_size=48))
    assert choose_microbatch_size(config, make_learner(IMAGES), Communicator()) == 48
