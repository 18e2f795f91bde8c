"""A vector in two parts, each through a perceptron of its own, and what they give through a third.

What a robot knows of itself (proprioceptive) is the left part, what it meets (exteroceptive) the
right one. Axes: N samples; F features of an observation, of which the left part has L.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.initialization import initialize_torso
from ppo_mpi.networks.mlp import ACTIVATIONS, Mlp
from ppo_mpi.settings.network import NetworkConfig


class Split(nn.Module):
    """Two perceptrons side by side, and one behind both.

    Source:
        Heess et al. 2017, arXiv:1707.02286, whose policies have one perceptron for what is
        proprioceptive and one for what is exteroceptive.
    """

    def __init__(self, sizes: tuple[int, int], left: Mlp, right: Mlp, joint: Mlp) -> None:
        """Take the perceptrons, and how many of a vector's numbers go to the first two."""
        super().__init__()
        self.left_size, self.size = sizes[0], sum(sizes)
        self.left = left
        self.right = right
        self.joint = joint
        self.feature_size = joint.feature_size

    def parts(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return [N, L] and [N, F - L], as copies: rows of a part may lie anywhere in memory."""
        left, right = vectors[:, : self.left_size], vectors[:, self.left_size :]
        copied = torch.contiguous_format
        return left.clone(memory_format=copied), right.clone(memory_format=copied)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map [N, F] to features [N, feature_size]."""
        left, right = self.parts(vectors.flatten(1))
        features: Tensor = self.joint(torch.cat([self.left(left), self.right(right)], 1))
        return features


def left_size(spec: ObservationSpec, split_start: int) -> int:
    """Return how many numbers the left part has; ``split_start`` may count from the end.

    Raises:
        ConfigError: observations are images, or a part would be empty.
    """
    if spec.is_image:
        raise ConfigError(
            f"network=split needs vectors, but observations are images of {spec.shape}; use "
            "network=impala or network=nature"
        )
    size = prod(spec.shape)
    left = split_start if split_start > 0 else size + split_start
    if not 0 < left < size:
        remedy = f"use 1 to {size - 1}, or {1 - size} to -1 to count from the end"
        raise ConfigError(
            f"split_start={split_start} leaves a part empty, as the vector has {size} "
            + (f"numbers; {remedy}" if size > 1 else "number; use network=mlp")
        )
    return left


def make_torso(spec: ObservationSpec, config: NetworkConfig) -> nn.Module:
    """Make the torso that ``config`` describes.

    Raises:
        ConfigError: observations are images, or a part would be empty.
    """
    activation, in_left = ACTIVATIONS[config.activation], left_size(spec, config.split_start)
    in_right = prod(spec.shape) - in_left
    activated = config.activate_branches
    left = Mlp([in_left, *config.left_hidden_sizes], activation, activated)
    right = Mlp([in_right, *config.right_hidden_sizes], activation, activated)
    both = left.feature_size + right.feature_size
    joint = Mlp([both, *config.joint_hidden_sizes], activation)
    torso = Split((in_left, in_right), left, right, joint)
    initialize_torso(
        torso, "orthogonal" if config.initialization == "auto" else config.initialization
    )
    return torso
