"""Does a checkpoint hold what its config says, and is there room for the run?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ppo_mpi.algorithms.ppg import optimizers_beside, phase_bytes
from ppo_mpi.build import make_observation_normalizer
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.errors import CheckpointError
from ppo_mpi.learning import adam, natural_gradient, rmsprop
from ppo_mpi.learning.augmenting import transforms_for
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.freezing import freeze
from ppo_mpi.rewards.base import RewardModel
from ppo_mpi.rewards.making import make_reward_model
from ppo_mpi.snapshot_phase import check_phase
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.memories import check_memories
from ppo_mpi.storage.shared_run import holds_only_policy, policy_part
from ppo_mpi.storage.untrusted_files import memory_bytes
from ppo_mpi.suites import make_envs


def check_fits(config: TrainConfig, checkpoint: Checkpoint) -> None:
    """Compare a checkpoint's tensors with the run that its config describes.

    Nothing of the sizes that the config claims is made: a model on torch's "meta" device has
    shapes and no memory.

    Args:
        config: from the checkpoint, checked.
        checkpoint: verified.

    Raises:
        CheckpointError: a tensor or a memory is missing, superfluous, of another shape or type, or
            holds a NaN or an infinity.
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
                aux_head=config.has_aux_head,
                heads=config.auxiliary.heads,
            )
            freeze(model, config.transfer.frozen_layers)
            reward_model = make_reward_model(config, envs)
    except (RuntimeError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise CheckpointError(f"{whose} describes no network that can be: {error}") from error
    finally:
        envs.close()
    check_memories(whose, checkpoint.environments, model.memory_size)
    expected: dict[str, dict[str, Tensor]] = {
        "model": dict(model.state_dict()),
        "optimizer": {},
        "normalizers": _expected_normalizers(config, envs, reward_model),
    }
    if holds_only_policy(checkpoint.state):
        _compare(whose, checkpoint, policy_part(expected))
        return
    if reward_model is not None:
        expected["reward_model"] = dict(reward_model.state_dict())
        expected["reward_optimizer"] = _expected_optimizer(reward_model)
    for stem in optimizers_beside(config):
        expected[stem] = _expected_optimizer(model)
    check_phase(config, envs.obs_spec, checkpoint)
    if checkpoint.tensors.get("optimizer"):  # older ones have none before the first step
        name = config.learning.optimizer_name
        expected["optimizer"] = (
            natural_gradient.expected_tensors(model)
            if name == "kfac"
            else _expected_optimizer(model, STATES[name])
        )
    _compare(whose, checkpoint, expected)


SQUARES = (
    "/exp_avg_sq", "/square_avg", "/variance", "/count", "/step", "/steps", "/eigenvalues",
    "_scale.variance", "_scale.count",
)  # fmt: skip
"""How the names of tensors end that are nowhere below 0."""


def _compare(
    whose: str, checkpoint: Checkpoint, expected: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Refuse tensors of other names, shapes or types, or that no run can have."""
    _compare_names(whose, "files", checkpoint.tensors, expected)
    for stem, tensors in expected.items():
        found = checkpoint.tensors[stem]
        _compare_names(whose, f"tensors of {stem}", found, tensors)
        for name, tensor in tensors.items():
            _check_tensor(f"{whose} has {stem}/{name}", found[name], tensor)
            if name.endswith(SQUARES) and bool((found[name] < 0).any()):
                raise CheckpointError(f"{whose} has {stem}/{name} below 0; use an older one")


STATES = {"adam": adam.STATE, "rmsprop": rmsprop.STATE}
"""Optimizer -> what it keeps of each parameter."""


def _expected_optimizer(model: nn.Module, state: Sequence[str] = adam.STATE) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": torch.empty((), device="meta") if key == "step" else parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        for key in state
    }


def _expected_normalizers(
    config: TrainConfig, envs: VecEnvs, reward_model: RewardModel | None
) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {}
    if config.learning.normalize_rewards:
        shapes["reward"] = ()
    normalizer = make_observation_normalizer(config, envs)
    if normalizer is not None:
        shapes["observation"] = normalizer.moments.mean.shape
    if reward_model is not None:
        shapes |= {name: moments.mean.shape for name, moments in reward_model.moments().items()}
        if reward_model.is_normalized(config.rewards):
            shapes["intrinsic"] = ()
    expected = {
        f"{name}/{key}": () if key == "count" else shape
        for name, shape in shapes.items()
        for key in ("mean", "variance", "count")
    }
    if config.learning.bootstrap_clip_dynamic:
        expected |= {f"rewards_seen/{key}": () for key in ("low", "high", "seen")}
    if config.augmentation.augmentation == "ucb":
        choice = config.augmentation
        num = len(transforms_for(envs.obs_spec, choice))
        own = {"counts": (num,), "returns": (num, choice.ucb_window), "chosen": ()}
        expected |= {f"augmentation/{key}": shape for key, shape in own.items()}
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


def phases_of(config: TrainConfig) -> str:
    """Return what a run's phases add to its size, in words; empty if it has none."""
    if not config.is_phasic:
        return ""
    return f" and keeps policy_iterations={config.ppg.policy_iterations} rollouts"


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
    job = timestep * timesteps + BYTES_PER_ENVIRONMENT * num_envs + phase_bytes(config, spec)
    here, there_is = job * comm.local_size // comm.world_size, memory_bytes()
    if here > there_is:
        raise CheckpointError(
            f"the run has rollout_timesteps={timesteps} and {num_envs} environments"
            f"{phases_of(config)}, which take "
            f"{here / 2**30:,.0f} GiB on this machine of {there_is / 2**30:,.0f} GiB; use more "
            "machines"
        )
