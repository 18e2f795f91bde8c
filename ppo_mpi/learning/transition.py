"""One step of the policy in some environments.

Axes: T steps; B environments that act together; S numbers that are remembered of an episode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ppo_mpi.envs.base import StepResult

ALL = slice(None)

Place = int | tuple[int, slice]
"""Where in [T, B] transitions belong: a step, or a step and some of its slots."""


@dataclass(frozen=True)
class Transition:
    """One step of the policy in some environments."""

    obs: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    result: StepResult
    """With the slots of all environments of this rank, whichever they are."""
    seen: np.ndarray | None
    """The raw observation, if the run normalizes."""
    memory: Tensor
    """[B, S] with which the policy acted."""
    memory_after: Tensor
    """[B, S] what it remembered then, even where the episode ended."""
    truths: np.ndarray | None = None
    """[B, W] float32, what is true of the observation; None without auxiliary heads."""
