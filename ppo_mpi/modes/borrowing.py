"""A new run that begins with another one's parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppo_mpi.agent import read_run
from ppo_mpi.build import Run
from ppo_mpi.config import TrainConfig
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.freezing import layer_of, layers_in, named_by
from ppo_mpi.snapshot import load_moments
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.durable import on_root
from ppo_mpi.storage.stored_config import stored_config

_FIRST = r"((left|right|vector_torso)\.)?layers\.0\."
_SEES_VECTORS = re.compile(rf"trunk\.{_FIRST}|(value_)?torso\.{_FIRST}")
_SEES_BEHIND_TRUNK = re.compile(rf"trunk\.{_FIRST}")
OBSERVATION = ("observation/mean", "observation/variance", "observation/count")
REWARD = ("reward/mean", "reward/variance", "reward/count")
_SCALE = ("mean", "variance", "count")
LEAST_COUNT = 1.0
"""Observations behind statistics that were ever used; they begin with a part of one."""


@dataclass(frozen=True)
class Loan:
    """What a run takes from another one."""

    parameters: tuple[str, ...]
    observations: bool
    """Whether the statistics that normalize observations come along."""
    value_scale: bool
    """Whether those that normalize values do."""
    rewards: bool
    """Whether those that normalize rewards do: values are predicted in their unit."""
    left_out: tuple[str, ...]
    """What there is in the run and is not taken, with the reason."""


def borrow(run: Run, config: TrainConfig, resumed: Checkpoint | None, comm: Communicator) -> None:
    """Let a run that has not begun take over the parameters it is to borrow. Collective.

    Rank 0 reads the other run's checkpoint, verified, and sends it to the others.

    Args:
        run: freshly built; nothing happens if it borrows nothing.
        config: says what from which run.
        resumed: where the run goes on; it then has all that it once borrowed.
        comm: the job.

    Raises:
        CheckpointError: there is no such run, or its checkpoint is damaged.
        ConfigError: what is asked for is not there, or does not fit; nothing was changed.
    """
    asked = config.transfer
    if resumed is not None or not asked.borrow_from:
        return
    checkpoint, warnings = on_root(
        comm, lambda: read_run(asked.borrow_from, config.job.checkpoint_dir)
    )  # collective
    loan = loan_of(run.model, checkpoint, asked.borrow_layers, config)
    take(run, checkpoint, loan)
    if comm.is_root and config.job.display != "off":
        print("\n".join([*warnings, described(loan, run.model, checkpoint)]), flush=True)


def loan_of(
    model: ActorCritic, checkpoint: Checkpoint, words: tuple[str, ...], config: TrainConfig
) -> Loan:
    """Return what a model takes from a checkpoint.

    Args:
        model: that borrows.
        checkpoint: of the lender, verified.
        words: the layers that are asked for; empty = all that fit.
        config: of the run that borrows.

    Raises:
        CheckpointError: a tensor of the lender is not finite, or statistics are missing.
        ConfigError: what is asked for is not there or has another shape; nothing fits; or the two
            runs differ in what goes into or comes out of the layers.
    """
    lent = checkpoint.tensors.get("model", {})
    own = dict(model.named_parameters())
    wanted = named_by(words, list(own), "borrow_layers") if words else list(own)
    reasons = {name: _misfit(own[name], lent.get(name)) for name in wanted}
    reasons |= {n: "of another truth there" for n in _of_other_truths(model, wanted, checkpoint)}
    if not words:  # a bias is of no use without its weight
        misfits = {layer_of(name) for name, reason in reasons.items() if reason}
        wanted = [name for name in wanted if reasons[name] or layer_of(name) not in misfits]
    wrong = [f"{name} ({reasons[name]})" for name in wanted if reasons[name]]
    whose = f"borrow_from={checkpoint.path}"
    if wrong and (words or len(wrong) == len(wanted)):
        raise ConfigError(
            f"{whose} does not fit: {', '.join(wrong[:3])}"
            f"{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}; use the lender's network, "
            "or borrow_layers that are in both; the lender has "
            f"{', '.join(layers_in(sorted(lent)))}"
        )
    taken = [name for name in wanted if not reasons[name]]
    for name in taken:
        if not _is_finite(lent[name]):
            raise CheckpointError(f"{whose} has {name} with a NaN or an infinity in it")
    kinds = _statistics_of(model, checkpoint, taken, config, whose)
    _refuse_missing(checkpoint, *kinds, whose)
    return Loan(tuple(taken), *kinds, tuple(wrong))


def _statistics_of(
    model: ActorCritic, checkpoint: Checkpoint, taken: list[str], config: TrainConfig, whose: str
) -> tuple[bool, bool, bool]:
    """Return which statistics come with the layers: of observations, of values, of rewards."""
    lent = checkpoint.tensors.get("model", {})
    sees = _SEES_VECTORS if model.trunk is None else _SEES_BEHIND_TRUNK
    observations = any(sees.match(name) for name in taken) and _agree(
        f"{whose}, whose first layer is borrowed,", "normalize_observations", "borrow_layers "
        "without the first layer", _normalizes(checkpoint, OBSERVATION[2]),
        config.learning.normalize_observations,
    )  # fmt: skip
    has_values = any(name.startswith("value_head.") for name in taken)
    predicts = f"{whose}, whose value_head is borrowed,", "borrow_layers without value_head"
    value_scale = has_values and _agree(
        predicts[0], "normalize_values", predicts[1],
        "value_scale.mean" in lent, model.value_scale is not None,
    )  # fmt: skip
    rewards = has_values and _agree(
        predicts[0], "normalize_rewards", predicts[1],
        _normalizes(checkpoint, REWARD[2]), config.learning.normalize_rewards,
    )  # fmt: skip
    return observations, value_scale, rewards


def _refuse_missing(
    checkpoint: Checkpoint, observations: bool, value_scale: bool, rewards: bool, whose: str
) -> None:
    lent = checkpoint.tensors.get("model", {})
    found = checkpoint.tensors.get("normalizers", {})
    statistics: dict[str, Tensor | None] = {}
    if observations:
        statistics |= {name: found.get(name) for name in OBSERVATION}
    if rewards:
        statistics |= {name: found.get(name) for name in REWARD}
    if value_scale:
        statistics |= {f"value_scale.{name}": lent.get(f"value_scale.{name}") for name in _SCALE}
    for name, tensor in statistics.items():
        is_number = name.startswith(("value_scale", "reward")) or name == OBSERVATION[2]
        if tensor is None or (is_number and tensor.numel() != 1) or not _is_finite(tensor):
            raise CheckpointError(f"{whose} has no {name} that could be borrowed")


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _misfit(own: Tensor, lent: Tensor | None) -> str:
    """Return why a tensor cannot take another one's place; empty if it can."""
    if lent is None:
        return "not there"
    if lent.shape != own.shape:
        return f"{_shape(lent)} there, {_shape(own)} here"
    return "" if lent.dtype == own.dtype else f"{lent.dtype} there, {own.dtype} here"


def _of_other_truths(model: ActorCritic, names: Sequence[str], checkpoint: Checkpoint) -> list[str]:
    """Return the parameters of heads in whose place the lender has one of another truth."""
    lent = checkpoint.tensors.get("model", {})
    shared = [n for n in names if n.startswith("auxiliary_heads.") and n in lent]
    if not shared:
        return []
    theirs = stored_config(checkpoint).auxiliary.heads
    heads = zip(theirs, model.heads, strict=False)
    same = {
        f"auxiliary_heads.{i}"
        for i, (head, own) in enumerate(heads)
        if (head.name, head.is_classes) == (own.name, own.is_classes)
    }
    return [name for name in shared if layer_of(name) not in same]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _normalizes(checkpoint: Checkpoint, counted: str) -> bool:
    count = checkpoint.tensors.get("normalizers", {}).get(counted)
    return count is not None and count.numel() == 1 and float(count) >= LEAST_COUNT


def _agree(whose: str, setting: str, other: str, lender: bool, own: bool) -> bool:
    """Return what both runs have of a setting.

    Raises:
        ConfigError: they differ.
    """
    if lender != own:
        raise ConfigError(
            f"{whose} was trained with {setting}={str(lender).lower()}, but this run has "
            f"{str(own).lower()}; use {setting}={str(lender).lower()}, or {other}"
        )
    return own


@torch.no_grad()
def take(run: Run, checkpoint: Checkpoint, loan: Loan) -> None:
    """Copy what a run borrows; optimizer and counters stay those of a new run.

    Raises:
        ConfigError: observations that are normalized have other shapes.
    """
    lent, parameters = checkpoint.tensors["model"], dict(run.model.named_parameters())
    normalizers: Mapping[str, Tensor] = checkpoint.tensors.get("normalizers", {})
    normalizer = run.observation_normalizer
    if loan.observations and normalizer is not None:
        shapes = {tuple(normalizers[name].shape) for name in OBSERVATION[:2]}
        if shapes != {normalizer.moments.mean.shape}:
            raise ConfigError(
                f"borrow_from={checkpoint.path} has statistics of other observations than this "
                "run; use the lender's environment, or borrow_layers without the first layer"
            )
        load_moments({"observation": normalizer.moments}, dict(normalizers))
    if loan.rewards and run.reward_normalizer is not None:
        load_moments({"reward": run.reward_normalizer.moments}, dict(normalizers))
    for name in loan.parameters:
        parameters[name].copy_(lent[name])
    if loan.value_scale and run.model.value_scale is not None:
        for name, buffer in run.model.value_scale.named_buffers():
            buffer.copy_(lent[f"value_scale.{name}"])


def described(loan: Loan, model: ActorCritic, checkpoint: Checkpoint) -> str:
    """Return what was borrowed, in words."""
    num = len(list(model.named_parameters()))
    text = (
        f"borrowed {len(loan.parameters)} of {num} parameters from {checkpoint.path}: "
        f"{', '.join(layers_in(loan.parameters))}"
    )
    if loan.observations:
        text += "; with the mean and deviation of observations"
    if loan.value_scale:
        text += "; with the mean and deviation of values"
    if loan.rewards:
        text += "; with the deviation of returns that normalizes rewards"
    return text + (f"; not {', '.join(loan.left_out)}" if loan.left_out else "")
