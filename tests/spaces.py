"""Random actions of any space, for tests that do not ask a policy."""

from __future__ import annotations

import numpy as np

from ppo_mpi.envs.base import ActionSpec, Box, Composite, Discrete, MultiBinary


def random_actions(spec: ActionSpec, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw ``size`` actions; a box's numbers are normal with deviation 2, whatever its bounds."""
    if isinstance(spec, Discrete):
        return rng.integers(spec.num_actions, size=size)
    if isinstance(spec, Box):
        return rng.normal(0, 2, size=(size, len(spec.low))).astype(np.float32)
    if isinstance(spec, Composite):
        each = [random_actions(part, rng, size).reshape(size, -1) for part in spec.parts]
        return np.concatenate(each, axis=1).astype(np.float32)
    high = 2 if isinstance(spec, MultiBinary) else np.array(spec.nums)
    return rng.integers(0, high, size=(size, *spec.action_shape))
