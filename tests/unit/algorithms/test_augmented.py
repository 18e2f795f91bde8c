"""RAD's and DrAC's losses against slow versions, and their way through an update."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ppo_mpi.algorithms.a2c import A2C, a2c_loss
from ppo_mpi.algorithms.augmented import augmented
from ppo_mpi.algorithms.ppo import PPO, ppo_loss
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import ActionSpec, Box, Discrete, ObservationSpec
from ppo_mpi.learning.augmentations import rotate
from ppo_mpi.learning.augmenting import Augmenter
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Batch, Minibatch, Rollout, microbatches
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.update import update
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.seeding import generator
from ppo_mpi.settings.augmentation import AugmentationConfig
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.network import NetworkConfig

COMM = Communicator()
CPU = torch.device("cpu")
SPEC = ObservationSpec((12, 12, 3), "uint8")
STEPS, ENVS, SEED = 6, 4, 5
CONFIG = LearningConfig(
    num_epochs=2, num_minibatches=3, microbatch_size=4, normalize_advantages="none",
    entropy_coef=0.02, value_coef=0.4,
)  # fmt: skip
ACTIONS: list[ActionSpec] = [Discrete(4), Box((-1.0,) * 2, (1.0,) * 2)]


def model_for(actions: ActionSpec) -> ActorCritic:
    torch.manual_seed(2)
    config = NetworkConfig(network="impala", channel_multiplier=0.25, feature_size=16)
    model = ActorCritic(SPEC, actions, config, torch.float32)
    with torch.no_grad():
        model.policy_head.weight.mul_(100)  # policies that differ from image to image
    return model


def batch_for(model: ActorCritic) -> Batch:
    random = torch.Generator().manual_seed(1)
    obs = torch.randint(256, (STEPS, ENVS, 12, 12, 3), dtype=torch.uint8, generator=random)
    noise = torch.rand(5, STEPS, ENVS, generator=random)
    with torch.no_grad():
        distribution, _ = model(obs.flatten(0, 1))
        actions = distribution.mode()
        log_probs = distribution.log_prob(actions).view(STEPS, ENVS) + 0.1 * noise[4]
    none = np.zeros((STEPS, ENVS))
    rollout = Rollout(
        obs, actions.unflatten(0, (STEPS, ENVS)), log_probs, noise[0], noise[1], none, none, none
    )
    return Batch(rollout, noise[2] - 0.5, noise[3])


def minibatch_of(batch: Batch) -> Minibatch:
    (minibatch,) = microbatches(batch, torch.tensor([1, 4, 5, 11, 20]), 0)
    return minibatch


def augmenter_for(config: AugmentationConfig, batch: Batch) -> Augmenter:
    augmenter = Augmenter(SPEC, config, SEED, CPU)
    augmenter.begin(batch.returns, tuple(range(ENVS)), 2, 0, COMM)
    return augmenter


def turned(minibatch: Minibatch) -> Tensor:
    """Return the images as they must be seen, from the streams of the environments."""
    assert minibatch.samples is not None
    found = []
    for image, sample in zip(minibatch.obs, minibatch.samples.tolist(), strict=True):
        step, slot = divmod(sample, ENVS)
        draws = generator(SEED, "augmentation", 2, 0, slot).random((STEPS, 1), np.float32)
        found.append(image.rot90(min(3, int(4 * draws[step, 0])), (0, 1)))
    return torch.stack(found)


def slow_terms(model: ActorCritic, minibatch: Minibatch, changed: Tensor) -> tuple[Tensor, Tensor]:
    """Return DrAC's two terms summed over samples, by torch's own distributions."""

    def policy(obs: Tensor) -> tuple[Any, Tensor]:
        outputs, values = model.outputs(obs)
        if isinstance(model.action_spec, Discrete):
            return torch.distributions.Categorical(logits=outputs), values
        assert model.log_std is not None
        normal = torch.distributions.Normal(outputs, model.log_std.exp())
        return torch.distributions.Independent(normal, 1), values

    with torch.no_grad():
        old, old_values = policy(minibatch.obs)
    new, values = policy(changed)
    divergence = torch.distributions.kl_divergence(old, new).sum()
    return divergence, ((old_values - values) ** 2).sum()


def gradients(loss: Tensor, model: ActorCritic) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("actions", ACTIONS)
def test_dracs_loss_is_ppos_and_the_two_terms_of_the_paper(actions: ActionSpec):
    config = AugmentationConfig(augmentation="rotate", drac_coef=0.3)
    model = model_for(actions)
    batch = batch_for(model)
    minibatch = minibatch_of(batch)
    changed = turned(minibatch)
    assert not torch.equal(changed, minibatch.obs)
    algorithm = augmented(PPO, augmenter_for(config, batch), config)
    loss, sums = algorithm.loss(model, minibatch, CONFIG, 0.2)
    found = gradients(loss, model)

    ppo, ppo_sums = ppo_loss(model, minibatch, CONFIG, 0.2)
    policy, value = slow_terms(model, minibatch, changed)
    assert policy.item() > 1e-3
    assert value.item() > 1e-6
    expected = ppo + 0.3 * (policy + value)
    torch.testing.assert_close(loss, expected)
    for own, slow in zip(found, gradients(expected, model), strict=True):
        torch.testing.assert_close(own, slow, rtol=1e-4, atol=1e-6)
    named = dict(zip(algorithm.metrics, sums.tolist(), strict=True))
    assert named["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert named["augmentation_policy_loss"] == pytest.approx(policy.item(), rel=1e-4)
    assert named["augmentation_value_loss"] == pytest.approx(value.item(), rel=1e-4)
    torch.testing.assert_close(sums[1:6], ppo_sums[1:])


@pytest.mark.parametrize("method", ["drac", "rad"])
def test_a2cs_loss_is_changed_as_ppos_is(method: Any):
    config = AugmentationConfig(augmentation="rotate", augmentation_method=method, drac_coef=0.3)
    model = model_for(Discrete(4))
    batch = batch_for(model)
    minibatch = minibatch_of(batch)
    algorithm = augmented(A2C, augmenter_for(config, batch), config)
    assert algorithm.gradients is None
    loss, sums = algorithm.loss(model, minibatch, CONFIG, 0.2)
    assert len(sums) == len(algorithm.metrics)
    changed = turned(minibatch)
    if method == "drac":
        policy, value = slow_terms(model, minibatch, changed)
        expected = a2c_loss(model, minibatch, CONFIG, 0.2)[0] + 0.3 * (policy + value)
    else:
        expected = a2c_loss(model, replace(minibatch, obs=changed), CONFIG, 0.2)[0]
    torch.testing.assert_close(loss, expected)


def test_rads_loss_is_ppos_on_the_changed_images_with_the_old_log_probabilities():
    config = AugmentationConfig(augmentation="rotate", augmentation_method="rad")
    model = model_for(Discrete(4))
    batch = batch_for(model)
    minibatch = minibatch_of(batch)
    algorithm = augmented(PPO, augmenter_for(config, batch), config)
    assert algorithm.metrics == PPO.metrics
    loss, sums = algorithm.loss(model, minibatch, CONFIG, 0.2)
    changed = turned(minibatch)
    distribution, values = model(changed)
    ratio = (distribution.log_prob(minibatch.actions) - minibatch.old_log_probs).exp()
    surrogate = torch.min(
        ratio * minibatch.advantages, ratio.clamp(0.8, 1.2) * minibatch.advantages
    )
    expected = -surrogate.sum() - 0.02 * distribution.entropy().sum()
    expected = expected + 0.4 * 0.5 * ((values - minibatch.returns) ** 2).sum()
    torch.testing.assert_close(loss, expected)
    assert len(sums) == len(algorithm.metrics)


def test_dracs_terms_are_nothing_where_the_transform_changes_nothing():
    """Only its mean over the circle is left: all of one color looks the same from every side."""
    config = AugmentationConfig(augmentation="rotate", drac_coef=10.0)
    model = model_for(Discrete(4))
    batch = batch_for(model)
    batch.rollout.obs.fill_(90)
    algorithm = augmented(PPO, augmenter_for(config, batch), config)
    minibatch = minibatch_of(batch)
    loss, sums = algorithm.loss(model, minibatch, CONFIG, 0.2)
    plain, _ = ppo_loss(model, minibatch, CONFIG, 0.2)
    torch.testing.assert_close(loss, plain)
    assert sums[-2:].abs().max() < 1e-5


def test_without_augmentation_an_algorithm_is_itself():
    assert augmented(PPO, None, AugmentationConfig()) is PPO


@pytest.mark.parametrize("method", ["rad", "drac"])
def test_gradients_by_hand_are_not_taken(method: str):
    config = AugmentationConfig(augmentation="flip", augmentation_method=method)  # type: ignore[arg-type]
    batch = batch_for(model_for(Discrete(4)))
    assert PPO.gradients is not None
    assert augmented(PPO, augmenter_for(config, batch), config).gradients is None


def trained(
    config: AugmentationConfig,
    size: int,
    workers: Workers | None = None,
    seed: int = SEED,
    on_device: bool = False,
) -> tuple[dict[str, float], Tensor]:
    model = model_for(Discrete(4))
    batch = batch_for(model)
    augmenter = Augmenter(SPEC, config, seed, CPU) if config.is_on else None
    learner = Learner(
        model, augmented(PPO, augmenter, config), CONFIG, SEED, workers, on_device,
        augmenter=augmenter,
    )  # fmt: skip
    learner.microbatch_size = size
    now = Scheduled(learning_rate=0.01, clip_range=0.2, entropy_coef=0.02)
    metrics = update(learner, batch, tuple(range(ENVS)), 2, now, COMM)
    return metrics, torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("method", ["rad", "drac"])
def test_an_update_is_the_same_whatever_its_microbatches_and_threads(method: str):
    config = AugmentationConfig(augmentation="crop", augmentation_method=method)  # type: ignore[arg-type]
    metrics, parameters = trained(config, 0)
    assert ("augmentation_policy_loss" in metrics) == (method == "drac")
    ways = ((3, None, False), (0, Workers(2), False), (2, Workers(2, exact=False), False))
    for size, workers, on_device in (*ways, (3, None, True)):
        others, other_parameters = trained(config, size, workers, on_device=on_device)
        assert others == pytest.approx(metrics, rel=1e-3, abs=1e-5)
        torch.testing.assert_close(other_parameters, parameters, rtol=1e-3, atol=2e-4)
    for other in (AugmentationConfig(), AugmentationConfig(augmentation="crop", drac_coef=3.0)):
        assert (trained(other, 0)[1] - parameters).abs().max() > 1e-3
    assert (trained(config, 0, seed=SEED + 1)[1] - parameters).abs().max() > 1e-4


def test_exact_threads_give_the_same_bits():
    config = AugmentationConfig(augmentation="random_convolution")
    one, three = (trained(config, 3, Workers(threads)) for threads in (1, 3))
    assert one[0] == three[0]
    assert torch.equal(one[1], three[1])


def test_rotation_is_that_of_the_slow_version():
    """``turned`` is what the losses above are compared with: it must not be of its own kind."""
    batch = batch_for(model_for(Discrete(4)))
    minibatch = minibatch_of(batch)
    assert minibatch.samples is not None
    quarter = rotate(minibatch.obs, torch.full((5, 1), 0.25))
    assert torch.equal(quarter, minibatch.obs.rot90(1, (1, 2)))
