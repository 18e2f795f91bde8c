"""Run <-> what a checkpoint holds: everything that shapes the future.

Nothing is keyed by rank: environments, running returns and episodes go by whole-job index, so
that a run can go on with another number of ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.build import Progress, Run
from ppo_mpi.config import TrainConfig, flatten
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError
from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.augmentation_choice import AugmentationChoice
from ppo_mpi.learning.normalizers import RewardRange, RunningMoments
from ppo_mpi.learning.phase_rollouts import PhaseRollout, phase_states
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.memories import loaded_memories, stored_memories


def environment_key(split: str, index: int) -> str:
    """Return the name of an environment in a checkpoint."""
    return f"{split}/{index:06d}"


Statistics = RunningMoments | RewardRange | AugmentationChoice


def _moments(run: Run) -> dict[str, Statistics]:
    found: dict[str, Statistics] = {}
    if run.reward_normalizer is not None:
        found["reward"] = run.reward_normalizer.moments
    if run.observation_normalizer is not None:
        found["observation"] = run.observation_normalizer.moments
    if run.rewarder is not None:
        found |= run.rewarder.moments()
    if run.rewards_seen is not None:
        found["rewards_seen"] = run.rewards_seen
    augmenter = run.learner.augmenter
    if augmenter is not None and augmenter.choice is not None:
        found["augmentation"] = augmenter.choice
    return found


def tensors_of(run: Run) -> dict[str, dict[str, Tensor]]:
    """Return the tensors that are the same on every rank: file stem -> name -> tensor."""
    rewarder = run.rewarder
    own = {} if rewarder is None else {
        "reward_model": dict(rewarder.model.state_dict()),
        "reward_optimizer": rewarder.optimizer.tensors(),
    }  # fmt: skip
    own |= {} if run.phasic is None else run.phasic.tensors()
    return own | {
        "model": dict(run.model.state_dict()),
        "optimizer": run.learner.optimizer.tensors(),
        "normalizers": {
            f"{name}/{key}": torch.from_numpy(np.array(value))
            for name, moments in _moments(run).items()
            for key, value in moments.state_dict().items()
        },
    }


def environments_of(run: Run) -> dict[str, bytes]:
    """Return the states of this rank's environments, and what is remembered of their episodes.

    Without those that cannot be saved: they begin afresh, with nothing to remember.
    """
    states: dict[str, bytes] = {}
    for actor in run.actors:
        if not actor.started:  # there are no episodes yet
            continue
        split, envs = actor.tracker.split, actor.envs
        saved = {
            i: s for i, s in zip(envs.indices, envs.get_states(), strict=True) if s is not None
        }
        states |= {environment_key(split, index): state for index, state in saved.items()}
        memory = actor.memory[[index in saved for index in envs.indices]].cpu().numpy()
        states |= stored_memories(split, list(saved), memory)
    return states


def entries_of(run: Run) -> dict[str, dict[str, Any]]:
    """Return what a checkpoint's state holds of this rank's environments.

    Returns:
        name -> whole-job index -> entry, as JSON can hold it.
    """
    entries: dict[str, dict[str, Any]] = {
        f"{actor.tracker.split}_episodes": actor.tracker.state_dict() for actor in run.actors
    }
    if run.reward_normalizer is not None:
        indices = run.collector.actor.envs.indices
        returns = run.reward_normalizer.returns.tolist()
        entries["running_returns"] = {str(i): r for i, r in zip(indices, returns, strict=True)}
    if run.rewarder is not None:
        entries["intrinsic_returns"] = run.rewarder.entries()
    if run.bonus is not None:
        entries["bonus_returns"] = run.bonus.entries()
    return entries


@dataclass(frozen=True)
class Snapshot:
    """A run between two iterations: what is the same on every rank, and this rank's part."""

    progress: Progress
    tensors: dict[str, dict[str, Tensor]]
    environments: dict[str, bytes]
    """This rank's, by their key."""
    entries: dict[str, dict[str, Any]]
    """This rank's, as ``entries_of`` returns them."""
    phase: tuple[PhaseRollout, ...] = ()
    """This rank's share of a phase that is under way; empty if checkpoints do not hold it."""
    phase_indices: tuple[int, ...] = ()
    """Whole-job indices of its environments."""

    def states(self) -> dict[str, bytes]:
        """Return all that a checkpoint holds by environment: states, and parts of a phase."""
        return self.environments | phase_states(self.phase, self.phase_indices)


def snapshot_of(run: Run) -> Snapshot:
    """Return everything that shapes the run's future; its tensors change as the run goes on."""
    rest = tensors_of(run), environments_of(run), entries_of(run)
    phasic = run.phasic
    if phasic is None:
        return Snapshot(replace(run.progress), *rest)
    progress = replace(run.progress, phase_rollouts=len(phasic.rollouts))
    return Snapshot(progress, *rest, phasic.rollouts if phasic.is_saved else (), phasic.indices)


def with_own_tensors(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with copies of its tensors, which stay as they are."""
    copies = {
        stem: {name: tensor.detach().clone() for name, tensor in group.items()}
        for stem, group in snapshot.tensors.items()
    }
    return replace(snapshot, tensors=copies)


def merged(parts: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the entries of all ranks together."""
    together: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, entries in part.items():
            together.setdefault(name, {}).update(entries)
    return together


def state_of(snapshot: Snapshot, config: TrainConfig, comm: Communicator) -> dict[str, Any]:
    """Return everything else, for JSON. Collective; complete on rank 0 only."""
    parts = comm.gather_objects(snapshot.entries)  # collective
    return {
        **vars(snapshot.progress),
        "config": flatten(config),
        "world_size": comm.world_size,
        "mpi_library": comm.library,
        "torch": torch.__version__,
        **merged(parts or []),
    }


def restore(run: Run, checkpoint: Checkpoint, comm: Communicator) -> int:
    """Put a run back to where a checkpoint was taken. Collective.

    Args:
        run: freshly built with the checkpoint's config and what it chose.
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
        run.learner.optimizer.load_tensors(tensors["optimizer"])
        if run.rewarder is not None:
            run.rewarder.model.load_state_dict(tensors["reward_model"])
            run.rewarder.optimizer.load_tensors(tensors["reward_optimizer"])
        if run.phasic is not None:
            num_envs = len(state["train_episodes"])
            run.phasic.load(tensors, checkpoint.environments, state["phase_rollouts"], num_envs)
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
    run.progress.losses = list(state.get("losses", []))
    return int(sum(comm.gather_all(fresh)))  # collective


def load_moments(moments: Mapping[str, Statistics], tensors: dict[str, Tensor]) -> None:
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
        if run.rewarder is not None and actor is run.collector.actor:
            run.rewarder.load_entries(checkpoint.state["intrinsic_returns"], slots)
        if run.bonus is not None and actor is run.collector.actor:
            run.bonus.load_entries(checkpoint.state["bonus_returns"], slots)
    return fresh


def _restore_actor(actor: Actor, checkpoint: Checkpoint) -> list[int]:
    split, indices = actor.tracker.split, actor.envs.indices
    actor.tracker.load_state_dict(checkpoint.state[f"{split}_episodes"])
    states = [checkpoint.environments.get(environment_key(split, i)) for i in indices]
    if checkpoint.state["iteration"] == 0 and not any(states):
        return []  # the first rollout begins the episodes, as in any run
    fresh = actor.envs.set_states(states, checkpoint.state["iteration"])
    actor.tracker.forget(fresh)
    memory = loaded_memories(split, indices, actor.memory.shape[1], checkpoint.environments)
    memory[fresh] = 0.0
    actor.memory.copy_(torch.from_numpy(memory))
    actor.started = True
    return fresh
