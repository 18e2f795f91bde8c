"""A small learner and a batch for it, of which much is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ppo_mpi.algorithms.ppo import PPO
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Batch, Rollout
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.update import update
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.network import NetworkConfig

COMM = Communicator()
STEPS, ENVS = 11, 3
CONFIG = LearningConfig(
    num_epochs=2, num_minibatches=4, microbatch_size=0, max_grad_norm=0.5, adam_epsilon=1e-5,
    normalize_advantages="none", entropy_coef=0.02, value_coef=0.4,
)  # fmt: skip
NOW = Scheduled(learning_rate=0.01, clip_range=0.2, entropy_coef=0.02)


def make_model() -> ActorCritic:
    torch.manual_seed(3)
    config = NetworkConfig(hidden_sizes=(8,), shared_torso=False)
    return ActorCritic(ObservationSpec((5,), "float32"), Discrete(4), config, torch.float32)


def make_batch(model: ActorCritic, seed: int = 0) -> Batch:
    """Return a rollout whose log-probabilities are near the model's, and random targets."""
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(STEPS, ENVS, 5, generator=generator)
    actions = torch.randint(4, (STEPS, ENVS), generator=generator)
    noise = torch.randn(4, STEPS, ENVS, generator=generator)
    with torch.no_grad():
        distribution, values = model(obs.flatten(0, 1))
        log_probs = distribution.log_prob(actions.flatten()).view(STEPS, ENVS)
    none = np.zeros((STEPS, ENVS))
    rollout = Rollout(
        obs, actions, log_probs + 0.1 * noise[0], values.view(STEPS, ENVS) + 0.1 * noise[1],
        noise[3], none, none, none,
    )  # fmt: skip
    return Batch(rollout, noise[2], noise[3])


def make_learner(
    config: LearningConfig = CONFIG, workers: Workers | None = None, **where: bool
) -> Learner:
    return Learner(make_model(), PPO, config, seed=9, workers=workers, **where)


def run_update(learner: Learner, batch: Batch, learning_rate: float = 0.01) -> dict[str, float]:
    return update(learner, batch, (0, 1, 2), 6, replace(NOW, learning_rate=learning_rate), COMM)


def parameters_of(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])
