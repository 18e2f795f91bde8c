"""Random network distillation: what the predictor has seldom seen, it guesses badly.

Axes: N samples; T steps; B environments on this rank; K outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import ActionSpec, ObservationSpec
from ppo_mpi.learning.normalizers import RunningMoments
from ppo_mpi.rewards.base import RewardModel, Transitions
from ppo_mpi.rewards.encoders import Encoder, num_numbers, numbers_of, split_kinds
from ppo_mpi.settings.rewards import RewardsConfig


class Rnd(RewardModel):
    """A fixed random network, and a predictor that learns to do as it does.

        reward = loss = mean over K of (predictor(s') - target(s'))^2

    Observations are normalized by their own running mean and deviation, each number and each
    pixel by itself, and clipped.

    Source:
        Burda et al. 2018, arXiv:1810.12894, sections 2.2 to 2.4. Its second value head, for
        intrinsic returns that go on over the ends of episodes, is not here: one value is learned
        of the weighted sum of rewards, in episodes. Instead of a random policy's steps the first
        rollout gives the first statistics.
    """

    metrics = ("loss",)
    normalized = True

    def __init__(
        self, obs_spec: ObservationSpec, action_spec: ActionSpec, config: RewardsConfig
    ) -> None:
        super().__init__()
        size = config.rnd_output_size
        self.update_proportion = config.rnd_update_proportion
        self.clip = config.rnd_observation_clip
        self.obs_spec = obs_spec
        shape = (num_numbers(obs_spec),) if obs_spec.parts else obs_spec.shape
        self.statistics = RunningMoments(shape)
        self.target = Encoder(obs_spec, config, size)
        for parameter in self.target.parameters():
            parameter.requires_grad_(False)
        self.predictor = Encoder(obs_spec, config, size, config.rnd_predictor_sizes)

    def observe(self, obs: Tensor, comm: Communicator) -> None:
        """Take a rollout's observations [T, B, ...] into the statistics. Collective."""
        if not self.obs_spec.parts:
            self.statistics.merge(*job_moments(obs, comm))  # collective
            return
        found = [
            job_moments(own, comm)  # collective
            for own in split_kinds(self.obs_spec, obs)
            if own.shape[-1]
        ]
        means, variances = ([own[i] for own in found] for i in (1, 2))
        self.statistics.merge(found[0][0], np.concatenate(means), np.concatenate(variances))

    def moments(self) -> dict[str, RunningMoments]:
        """Return the observations' running statistics."""
        return {"rnd_observation": self.statistics}

    def normalize(self, obs: Tensor) -> Tensor:
        """Return ``numbers_of`` observations with mean 0 and deviation 1, clipped, float32."""
        deviation = np.sqrt(self.statistics.variance + 1e-8)
        mean, scale = (
            torch.from_numpy(x).float().to(obs.device) for x in (self.statistics.mean, deviation)
        )
        return ((numbers_of(self.obs_spec, obs) - mean) / scale).clamp(-self.clip, self.clip)

    def errors(self, next_obs: Tensor) -> Tensor:
        """Return the predictor's mean squared errors, [N] float32."""
        inputs = self.normalize(next_obs)
        return ((self.predictor(inputs) - self.target(inputs)) ** 2).mean(-1)

    def rewards(self, transitions: Transitions) -> Tensor:
        """Return the predictor's errors at what followed, [N] float32."""
        return self.errors(transitions.next_obs)

    def loss(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """Return the loss [] and ``metrics`` [1], each summed over the samples."""
        loss = self.errors(transitions.next_obs).sum()
        return loss, loss.detach()[None]


def job_moments(obs: Tensor, comm: Communicator) -> tuple[float, np.ndarray, np.ndarray]:
    """Return count, mean and population variance of each number of the job's observations.

    Collective. Sums are exact, so that the number of ranks cannot be seen in them.

    Args:
        obs: [T, B, ...] uint8 or float32.
        comm: the job.
    """
    flat = obs.flatten(0, 1)
    count = float(comm.sum(np.array([len(flat)]))[0])  # collective
    if obs.dtype != torch.uint8:
        columns = np.moveaxis(flat.double().cpu().numpy(), 0, -1)
        mean = comm.exact_sum(columns) / count  # collective
        return count, mean, comm.exact_sum((columns - mean[..., None]) ** 2) / count  # collective
    # Whole numbers add up without rounding; a step at a time, as they take eight times the memory.
    own = torch.zeros(2, *obs.shape[2:], dtype=torch.int64, device=obs.device)
    for step in obs:
        wide = step.long()
        own += torch.stack([wide.sum(0), (wide * wide).sum(0)])
    total, squares = comm.sum(own.cpu().numpy()).astype(np.float64)  # collective
    mean = total / count
    return count, mean, np.maximum(squares / count - mean**2, 0.0)
