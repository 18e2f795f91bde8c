"""What an auxiliary phase learns from: observations and targets of all rollouts before it.

Axes: T steps; B environments on this rank; R rollouts; N samples; A outputs of the policy head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.envs.base import ObservationSpec

TARGET_BYTES = 4
"""Of a value target, float32."""


@dataclass(frozen=True)
class PhaseRollout:
    """One rollout of a phase, in memory of its own. Nothing changes it."""

    obs: Tensor
    """[T, B, ...] uint8 or float32, as the policy saw them."""
    targets: Tensor
    """[T, B] float32, value targets, in the unit of returns."""


def phase_key(index: int) -> str:
    """Return the name in a checkpoint of what an environment gave to the phase."""
    return f"phase/{index:06d}"


def timestep_bytes(spec: ObservationSpec) -> int:
    """Return what a phase keeps of one timestep."""
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize + TARGET_BYTES


def kept(obs: Tensor, targets: Tensor) -> PhaseRollout:
    """Return copies in the processor's memory: a rollout's tensors are reused by the next one.

    Args:
        obs: [T, B, ...].
        targets: [T, B] float32, in the unit of returns.
    """
    return PhaseRollout(obs.to("cpu", copy=True), targets.to("cpu", copy=True))


def samples_of(rollouts: Sequence[PhaseRollout], positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the observations [N, ...] and targets [N] at some positions.

    They are gathered from where the rollouts lie: together in one tensor they would take their
    memory twice.

    Args:
        rollouts: R of them.
        positions: [N] int64, sorted, in [R * T * B].
    """
    size = rollouts[0].targets.numel()
    ends = torch.searchsorted(positions, torch.arange(1, len(rollouts) + 1) * size).tolist()
    obs, targets, begin = [], [], 0
    for i, (rollout, end) in enumerate(zip(rollouts, ends, strict=True)):
        if begin < end:
            own = positions[begin:end] - i * size
            obs.append(rollout.obs.flatten(0, 1)[own])
            targets.append(rollout.targets.flatten()[own])
        begin = end
    return torch.cat(obs), torch.cat(targets)


def phase_states(rollouts: Sequence[PhaseRollout], indices: Sequence[int]) -> dict[str, bytes]:
    """Return what each environment gave, for a checkpoint: its observations, then its targets.

    Args:
        rollouts: the phase's so far.
        indices: whole-job indices of this rank's environments.
    """
    if not rollouts:
        return {}
    return {
        phase_key(index): b"".join(
            tensor[:, slot].contiguous().numpy().tobytes()
            for tensors in ([r.obs for r in rollouts], [r.targets for r in rollouts])
            for tensor in tensors
        )
        for slot, index in enumerate(indices)
    }


def phase_rollouts(
    states: Mapping[str, bytes],
    indices: Sequence[int],
    count: int,
    steps: int,
    spec: ObservationSpec,
) -> tuple[PhaseRollout, ...]:
    """Return the rollouts that ``phase_states`` gave, for other environments perhaps.

    Args:
        states: of all environments named by ``indices``, checked.
        indices: whole-job indices of this rank's environments.
        count: R.
        steps: T.
        spec: of the observations.
    """
    if not count:
        return ()
    obs, targets = [], []
    for index in indices:
        own, target = own_arrays(states[phase_key(index)], count, steps, spec)
        obs.append(own)
        targets.append(target)
    together = [np.stack(x, axis=2) for x in (obs, targets)]  # [R, T, B, ...]
    return tuple(
        PhaseRollout(torch.from_numpy(o), torch.from_numpy(t))
        for o, t in zip(*together, strict=True)
    )


def own_arrays(
    state: bytes, count: int, steps: int, spec: ObservationSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Return one environment's observations [R, T, ...] and targets [R, T], views of ``state``.

    Raises:
        ValueError: the state has another size.
    """
    timesteps = count * steps
    size = timesteps * timestep_bytes(spec)
    if len(state) != size:
        raise ValueError(f"{len(state)} bytes instead of {size}")
    split = size - timesteps * TARGET_BYTES
    obs = np.frombuffer(state[:split], spec.dtype).reshape(count, steps, *spec.shape)
    targets = np.frombuffer(state[split:], np.float32).reshape(count, steps)
    return obs, targets
