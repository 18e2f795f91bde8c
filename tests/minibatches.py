"""A small model and samples of another policy, in float64 for slopes by differences."""

from __future__ import annotations

import torch

from ppo_mpi.envs.base import Box, Discrete, ObservationSpec
from ppo_mpi.learning.rollout import Minibatch
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

COUNT = 12
SPEC = ObservationSpec((4,), "float32")


def make_model(continuous: bool) -> ActorCritic:
    torch.manual_seed(5)
    actions = Box((-1.0,) * 2, (1.0,) * 2) if continuous else Discrete(3)
    return ActorCritic(SPEC, actions, NetworkConfig(hidden_sizes=(6,)), torch.float32).double()


def make_minibatch(model: ActorCritic, continuous: bool) -> Minibatch:
    generator = torch.Generator().manual_seed(6)
    obs = torch.randn(COUNT, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(5, COUNT, generator=generator, dtype=torch.float64)
    actions = noise[:2].T if continuous else torch.arange(COUNT) % 3
    with torch.no_grad():
        distribution, values = outputs_of(model, obs)
        log_probs = distribution.log_prob(actions)
    return Minibatch(
        obs, actions, log_probs + 0.4 * noise[2], values + 0.3 * noise[3], noise[4], noise[3]
    )


def outputs_of(model: ActorCritic, obs: torch.Tensor):
    """Return policy and values in float64, without the casts to float32."""
    features = model.torso(obs)
    return model.distribution(model.policy_head(features)), model.value_head(features)[:, 0]


class InFloat64(ActorCritic):
    """The same model computed in float64, so that differences can be taken."""

    def forward(self, obs: torch.Tensor, sequences: None = None):
        return outputs_of(self, obs)


def in_float64(model: ActorCritic) -> ActorCritic:
    model.__class__ = InFloat64
    return model


def in_float32(minibatch: Minibatch) -> list[torch.Tensor]:
    """Return the tensors of samples that do not follow each other."""
    assert minibatch.sequences is None
    tensors = [x for x in vars(minibatch).values() if x is not None]
    return [x.float() if x.is_floating_point() else x for x in tensors]
