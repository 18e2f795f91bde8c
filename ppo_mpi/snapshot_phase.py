"""Does a checkpoint hold a whole phase, of numbers that can be?"""

from __future__ import annotations

import numpy as np

from ppo_mpi.config import TrainConfig
from ppo_mpi.envs.base import ObservationSpec
from ppo_mpi.errors import CheckpointError
from ppo_mpi.learning.phase_rollouts import own_arrays, phase_key
from ppo_mpi.storage.checkpoint import Checkpoint


def check_phase(config: TrainConfig, spec: ObservationSpec, checkpoint: Checkpoint) -> None:
    """Compare what a checkpoint holds of a phase with the run that its config describes.

    It holds what every environment gave to the phase, or nothing of any.

    Args:
        config: from the checkpoint, checked.
        spec: of the observations.
        checkpoint: verified, its counters too.

    Raises:
        CheckpointError: something is missing or superfluous, of another size, or not finite.
    """
    whose = f"the checkpoint {checkpoint.path}"
    remedy = "use an older one, or one that was written by ppo_mpi"
    found = [key for key in checkpoint.environments if key.startswith("phase/")]
    if not found:
        return
    count = checkpoint.state.get("phase_rollouts", 0)
    missing = [
        key
        for key in map(phase_key, range(config.environment.num_envs))
        if key not in checkpoint.environments
    ]
    if missing or not config.is_phasic or not count:
        what = f"not {missing[0]}" if missing else "the run has no phase under way"
        raise CheckpointError(f"{whose} holds {found[0]!r}, but {what}; {remedy}")
    for key in found:
        try:
            obs, targets = own_arrays(
                checkpoint.environments[key], count, config.rollout_steps, spec
            )
        except ValueError as error:
            raise CheckpointError(f"{whose} has {key} of {error}; {remedy}") from error
        numbers = [targets] if obs.dtype == np.uint8 else [targets, obs]
        if not all(np.isfinite(x).all() for x in numbers):
            raise CheckpointError(f"{whose} has {key} with a NaN or an infinity in it; {remedy}")
