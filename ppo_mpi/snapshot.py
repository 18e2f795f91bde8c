"""Run <-> what a checkpoint holds: everything that shapes the future.

Nothing is keyed by rank: environments, running returns and episodes go by whole-job index, so
that a run can go on with another number of ranks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig, flatten
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError
from ppo_mpi.learning.collector import Actor
from ppo_mpi.learning.normalizers import RunningMoments
from ppo_mpi.storage.checkpoint import Checkpoint


def environment_key(split: str, index: int) -> str:
    """Return the name of an environment in a checkpoint."""
    return f"{split}/{index:06d}"


def _moments(run: Run) -> dict[str, RunningMoments]:
    found = {}
    if run.reward_normalizer is not None:
        found["reward"] = run.reward_normalizer.moments
    if run.observation_normalizer is not None:
        found["observation"] = run.observation_normalizer.moments
    return found


def tensors_of(run: Run) -> dict[str, dict[str, Tensor]]:
    """Return the tensors that are the same on every rank: file stem -> name -> tensor."""
    return {
        "model": dict(run.model.state_dict()),
        "optimizer": run.learner.optimizer_tensors(),
        "normalizers": {
            f"{name}/{key}": torch.from_numpy(np.array(value))
            for name, moments in _moments(run).items()
            for key, value in moments.state_dict().items()
        },
    }


def environments_of(run: Run) -> dict[str, bytes]:
    """Return the states of this rank's environments; without those that cannot be saved."""
    states = {}
    for actor in run.actors:
        split, envs = actor.tracker.split, actor.envs
        for index, state in zip(envs.indices, envs.get_states(), strict=True):
            if state is not None:
                states[environment_key(split, index)] = state
    return states


def state_of(run: Run, config: TrainConfig, comm: Communicator) -> dict[str, Any]:
    """Return everything else, for JSON. Collective; complete on rank 0 only."""
    local: dict[str, dict[str, Any]] = {
        f"{actor.tracker.split}_episodes": actor.tracker.state_dict() for actor in run.actors
    }
    if run.reward_normalizer is not None:
        indices = run.collector.actor.envs.indices
        returns = run.reward_normalizer.returns.tolist()
        local["running_returns"] = {str(i): r for i, r in zip(indices, returns, strict=True)}
    merged: dict[str, dict[str, Any]] = {name: {} for name in local}
    for part in comm.gather_objects(local) or []:  # collective
        for name, entries in part.items():
            merged[name].update(entries)
    return {
        "iteration": run.progress.iteration,
        "timesteps": run.progress.timesteps,
        "best_return": run.progress.best_return,
        "config": flatten(config),
        "world_size": comm.world_size,
        "mpi_library": comm.library,
        "torch": torch.__version__,
        **merged,
    }


def restore(run: Run, checkpoint: Checkpoint, comm: Communicator) -> int:
    """Put a run back to where a checkpoint was taken. Collective.

    Args:
        run: freshly built with the checkpoint's config.
        checkpoint: verified; the same on every rank.
        comm: the job.

    Returns:
        how many environments of the job could not be restored and begin a fresh episode.

    Raises:
        CheckpointError: the checkpoint does not fit the run.
    """
    state, tensors = checkpoint.state, checkpoint.tensors
    try:
        run.model.load_state_dict(tensors["model"])
        run.learner.load_optimizer_tensors(tensors["optimizer"])
        load_moments(_moments(run), tensors.get("normalizers", {}))
        fresh = _restore_environments(run, checkpoint)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint.path} does not fit this config: {error}; "
            "use another --run, or --clobber to start over"
        ) from error
    run.progress.iteration = state["iteration"]
    run.progress.timesteps = state["timesteps"]
    run.progress.best_return = state["best_return"]
    return int(sum(comm.gather_all(fresh)))  # collective


def load_moments(moments: dict[str, RunningMoments], tensors: dict[str, Tensor]) -> None:
    """Put the normalizers' statistics back; KeyError if one is missing."""
    for name, statistics in moments.items():
        saved = {key: tensors[f"{name}/{key}"].numpy() for key in statistics.state_dict()}
        statistics.load_state_dict(saved)


def _restore_environments(run: Run, checkpoint: Checkpoint) -> int:
    """Put back this rank's environments; return how many begin a fresh episode instead."""
    fresh = 0
    for actor in run.actors:
        slots = _restore_actor(actor, checkpoint)
        fresh += len(slots)
        if run.reward_normalizer is not None and actor is run.collector.actor:
            saved = checkpoint.state["running_returns"]
            returns = [saved[str(index)] for index in actor.envs.indices]
            run.reward_normalizer.returns[:] = returns
            run.reward_normalizer.returns[slots] = 0.0
    return fresh


def _restore_actor(actor: Actor, checkpoint: Checkpoint) -> list[int]:
    split, indices = actor.tracker.split, actor.envs.indices
    actor.tracker.load_state_dict(checkpoint.state[f"{split}_episodes"])
    states = [checkpoint.environments.get(environment_key(split, i)) for i in indices]
    fresh = actor.envs.set_states(states)
    actor.tracker.forget(fresh)
    actor.started = True
    return fresh
