"""Run <-> what a checkpoint holds: everything that shapes the future.

Nothing is keyed by rank: environments, running returns and episodes go by whole-job index, so
that a run can go on with another number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_mpi.build import Progress, Run, make_observation_normalizer
from ppo_mpi.config import TrainConfig, flatten
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.errors import CheckpointError
from ppo_mpi.learning import adam
from ppo_mpi.learning.collector import Actor
from ppo_mpi.learning.normalizers import RewardRange, RunningMoments
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.untrusted_files import memory_bytes
from ppo_mpi.suites import make_envs


def environment_key(split: str, index: int) -> str:
    """Return the name of an environment in a checkpoint."""
    return f"{split}/{index:06d}"


def _moments(run: Run) -> dict[str, RunningMoments | RewardRange]:
    found: dict[str, RunningMoments | RewardRange] = {}
    if run.reward_normalizer is not None:
        found["reward"] = run.reward_normalizer.moments
    if run.observation_normalizer is not None:
        found["observation"] = run.observation_normalizer.moments
    if run.rewards_seen is not None:
        found["rewards_seen"] = run.rewards_seen
    return found


def tensors_of(run: Run) -> dict[str, dict[str, Tensor]]:
    """Return the tensors that are the same on every rank: file stem -> name -> tensor."""
    return {
        "model": dict(run.model.state_dict()),
        "optimizer": run.learner.optimizer.tensors(),
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
        if not actor.started:  # there are no episodes yet
            continue
        split, envs = actor.tracker.split, actor.envs
        for index, state in zip(envs.indices, envs.get_states(), strict=True):
            if state is not None:
                states[environment_key(split, index)] = state
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


def snapshot_of(run: Run) -> Snapshot:
    """Return everything that shapes the run's future; its tensors change as the run goes on."""
    return Snapshot(replace(run.progress), tensors_of(run), environments_of(run), entries_of(run))


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


def check_fits(config: TrainConfig, checkpoint: Checkpoint) -> None:
    """Compare a checkpoint's tensors with the run that its config describes.

    Nothing of the sizes that the config claims is made: a model on torch's "meta" device has
    shapes and no memory.

    Args:
        config: from the checkpoint, checked.
        checkpoint: verified.

    Raises:
        CheckpointError: a tensor is missing, superfluous, of another shape or type, or holds a
            NaN or an infinity.
    """
    whose = f"the checkpoint {checkpoint.path}"
    envs = make_envs(config, (), 0, "shape")
    try:
        with torch.device("meta"):
            model = ActorCritic(
                envs.obs_spec,
                envs.action_spec,
                config.network,
                torch.float32,
                config.learning.normalize_values,
            )
    except (RuntimeError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise CheckpointError(f"{whose} describes no network that can be: {error}") from error
    finally:
        envs.close()
    expected: dict[str, dict[str, Tensor]] = {
        "model": dict(model.state_dict()),
        "optimizer": {},
        "normalizers": _expected_normalizers(config, envs),
    }
    if checkpoint.tensors.get("optimizer"):  # older ones have none before the first step
        expected["optimizer"] = {
            f"{name}/{key}": torch.empty((), device="meta") if key == "step" else parameter
            for name, parameter in model.named_parameters()
            for key in adam.STATE
        }
    _compare_names(whose, "files", checkpoint.tensors, expected)
    for stem, tensors in expected.items():
        found = checkpoint.tensors[stem]
        _compare_names(whose, f"tensors of {stem}", found, tensors)
        for name, tensor in tensors.items():
            _check_tensor(f"{whose} has {stem}/{name}", found[name], tensor)
            is_square = name.endswith(
                ("/exp_avg_sq", "/variance", "/count", "/step", "_scale.variance", "_scale.count")
            )
            if is_square and bool((found[name] < 0).any()):
                raise CheckpointError(f"{whose} has {stem}/{name} below 0; use an older one")


def _expected_normalizers(config: TrainConfig, envs: VecEnvs) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {}
    if config.learning.normalize_rewards:
        shapes["reward"] = ()
    if make_observation_normalizer(config, envs) is not None:
        shapes["observation"] = envs.obs_spec.shape
    expected = {
        f"{name}/{key}": () if key == "count" else shape
        for name, shape in shapes.items()
        for key in ("mean", "variance", "count")
    }
    if config.learning.bootstrap_clip_dynamic:
        expected |= {f"rewards_seen/{key}": () for key in ("low", "high", "seen")}
    return {
        name: torch.empty(shape, dtype=torch.float64, device="meta")
        for name, shape in expected.items()
    }


def _compare_names(
    whose: str, what: str, found: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    for verb, names in (
        ("lacks", sorted(expected.keys() - found.keys())),
        ("also has", sorted(found.keys() - expected.keys())),
    ):
        if names:
            shown = ", ".join(repr(name[:80]) for name in names[:3])
            raise CheckpointError(
                f"{whose} does not hold what its config says: of the {what}, it {verb} {shown}"
            )


def _check_tensor(what: str, found: Tensor, expected: Tensor) -> None:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise CheckpointError(
            f"{what} of {tuple(found.shape)} {found.dtype}, where its config says "
            f"{tuple(expected.shape)} {expected.dtype}"
        )
    if not bool(torch.isfinite(found).all()):
        raise CheckpointError(f"{what} with a NaN or an infinity in it; use an older one")


BYTES_PER_TIMESTEP = 48
"""What a rollout keeps of a timestep beside observation and action, and what is made of it."""
BYTES_PER_ENVIRONMENT = 150_000
"""What one takes: so much in Procgen's engine."""


def check_memory(config: TrainConfig, comm: Communicator) -> None:
    """Refuse a stored config whose rollout and environments do not fit into this memory.

    Raises:
        CheckpointError: it does not.
    """
    envs = make_envs(config, (), 0, "shape")
    envs.close()
    spec = envs.obs_spec
    timestep = math.prod(spec.shape) * (1 if spec.dtype == "uint8" else 4) + BYTES_PER_TIMESTEP
    timesteps, num_envs = config.learning.rollout_timesteps, config.environment.num_envs
    num_envs += config.environment.num_test_envs
    job = timestep * timesteps + BYTES_PER_ENVIRONMENT * num_envs
    here, there_is = job * comm.local_size // comm.world_size, memory_bytes()
    if here > there_is:
        raise CheckpointError(
            f"the run has rollout_timesteps={timesteps} and {num_envs} environments, which take "
            f"{here / 2**30:,.0f} GiB on this machine of {there_is / 2**30:,.0f} GiB; use more "
            "machines"
        )


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


def load_moments(
    moments: Mapping[str, RunningMoments | RewardRange], tensors: dict[str, Tensor]
) -> None:
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
    if checkpoint.state["iteration"] == 0 and not any(states):
        return []  # the first rollout begins the episodes, as in any run
    fresh = actor.envs.set_states(states, checkpoint.state["iteration"])
    actor.tracker.forget(fresh)
    actor.started = True
    return fresh
