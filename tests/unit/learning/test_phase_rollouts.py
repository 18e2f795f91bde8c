"""What a phase keeps: the right samples, in memory of its own, by environment in checkpoints."""

from __future__ import annotations

import pytest
import torch

from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.learning.phase_rollouts import (
    PhaseRollout,
    kept,
    own_arrays,
    phase_rollouts,
    phase_states,
    samples_of,
    timestep_bytes,
)

STEPS, ENVS, COUNT = 5, 3, 4
IMAGE, VECTOR = ObservationSpec((4, 4, 3), "uint8"), ObservationSpec((2,), "float32")


def make_rollouts(spec: ObservationSpec) -> list[PhaseRollout]:
    random = torch.Generator().manual_seed(0)
    rollouts = []
    for _ in range(COUNT):
        obs = torch.rand(STEPS, ENVS, *spec.shape, generator=random)
        if spec.dtype == "uint8":
            obs = (256 * obs).to(torch.uint8)
        rollouts.append(PhaseRollout(obs, torch.randn(STEPS, ENVS, generator=random)))
    return rollouts


@pytest.mark.parametrize(
    "positions", [[0], [59], [3, 14, 15, 16, 44, 45, 59], [20, 21], list(range(60))]
)
def test_samples_are_those_of_all_rollouts_one_behind_the_other(positions: list[int]):
    rollouts = make_rollouts(IMAGE)
    obs, targets = samples_of(rollouts, torch.tensor(positions))
    together = torch.cat([r.obs.flatten(0, 1) for r in rollouts])
    assert torch.equal(obs, together[positions])
    assert torch.equal(targets, torch.cat([r.targets.flatten() for r in rollouts])[positions])


def test_what_is_kept_does_not_change_with_the_next_rollout():
    obs, targets = torch.zeros(STEPS, ENVS, 2), torch.zeros(STEPS, ENVS)
    rollout = kept(obs, targets)
    obs += 1
    targets += 1
    assert not rollout.obs.any()
    assert not rollout.targets.any()


@pytest.mark.parametrize("spec", [IMAGE, VECTOR])
def test_a_phase_comes_back_for_any_share_of_the_environments(spec: ObservationSpec):
    rollouts = make_rollouts(spec)
    # Two ranks wrote it, with two environments and one.
    states = phase_states([PhaseRollout(r.obs[:, :2], r.targets[:, :2]) for r in rollouts], (0, 1))
    states |= phase_states([PhaseRollout(r.obs[:, 2:], r.targets[:, 2:]) for r in rollouts], (2,))
    assert sorted(states) == ["phase/000000", "phase/000001", "phase/000002"]
    assert len(states["phase/000000"]) == COUNT * STEPS * timestep_bytes(spec)
    found = phase_rollouts(states, (1, 2), COUNT, STEPS, spec)
    assert len(found) == COUNT
    for rollout, expected in zip(found, rollouts, strict=True):
        assert torch.equal(rollout.obs, expected.obs[:, 1:])
        assert torch.equal(rollout.targets, expected.targets[:, 1:])


def test_a_phase_without_rollouts_is_nothing():
    assert phase_states([], (0, 1)) == {}
    assert phase_rollouts({}, (0, 1), 0, STEPS, IMAGE) == ()


def test_a_state_of_another_size_is_refused():
    with pytest.raises(ValueError, match="59 bytes instead of 60"):
        own_arrays(b"0" * 59, 1, 5, VECTOR)
